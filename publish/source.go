package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"immutable-infra/server/manifest"
)

// Source is a site's directory as its author keeps it, without the files that are no source: the
// program's own folder, the output of Jekyll and bundler, and the files that editors and desktops
// leave behind.
type Source struct {
	// dir is absolute and free of links.
	dir string
	// program is the program's own folder as a slash-separated path below dir, or "".
	program string
	record  string
	jekyll  jekyllConfig
}

// OpenSource finds the source of the site in siteDir, for the program in the directory project. It
// keeps its record of files that builds wrote in workDir. Relative paths start at project.
func OpenSource(siteDir, project, workDir string) (Source, error) {
	project, err := realPath(project, "")
	if err != nil {
		return Source{}, err
	}
	dir, err := realPath(siteDir, project)
	if err != nil {
		return Source{}, fmt.Errorf("cannot find the site: %w", err)
	}
	source := Source{dir: dir, record: filepath.Join(absolute(workDir, project), recordFile)}
	program, inside := below(dir, project)
	if inside && program == "." {
		return Source{}, fmt.Errorf("cannot build %s: it is the program's own directory; move the program into a folder of "+
			"it, such as _infra", dir)
	}
	if inside {
		source.program = program
	}
	source.jekyll, err = readJekyllConfig(dir)
	return source, err
}

// SiteHash is a hash of the site's source. It depends only on the names and contents of the files
// and on the targets of links: not on the directory's path, nor on file modes and times. A file
// that a build wrote counts with its content before that build.
func SiteHash(siteDir, workDir string) (string, error) {
	source, err := OpenSource(siteDir, ".", workDir)
	if err != nil {
		return "", err
	}
	inventory, err := source.scan()
	if err != nil {
		return "", err
	}
	record, err := source.readRecord()
	if err != nil {
		return "", err
	}
	inventory = source.original(inventory, record)
	if len(inventory) == 0 {
		return "", fmt.Errorf("cannot hash the site: %s has no files", source.dir)
	}
	hash := sha256.New()
	for _, path := range slices.Sorted(maps.Keys(inventory)) {
		fmt.Fprintf(hash, "%q %s\n", path, inventory[path])
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// inventory maps the slash-separated path of each file and link to its content: a file's SHA-256,
// or an arrow and a link's target.
type inventory map[string]string

// scan reads the whole source. It opens regular files only, so that no FIFO blocks it.
func (s Source) scan() (inventory, error) {
	var files []string
	found := inventory{}
	err := filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // an editor's file that is gone again
		}
		if err != nil || path == s.dir {
			return err
		}
		name, _ := below(s.dir, path)
		switch {
		case junk(entry.Name()) || s.made(name):
			if entry.IsDir() {
				return filepath.SkipDir
			}
		case entry.Type().IsRegular():
			files = append(files, name)
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			found[name] = "-> " + target
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the site: %w", err)
	}
	digests, err := inParallel(files, func(name string) (string, error) {
		digest, _, err := manifest.DigestFile(filepath.Join(s.dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return digest.String(), err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the site: %w", err)
	}
	for i, name := range files {
		if digests[i] != "" {
			found[name] = digests[i]
		}
	}
	return found, nil
}

// made reports whether a path is no source: something that Jekyll, bundler or git make, or the
// program's own folder.
func (s Source) made(name string) bool {
	for element := range strings.SplitSeq(name, "/") {
		switch element {
		case ".git", "node_modules", ".jekyll-cache", ".jekyll-metadata", ".sass-cache", ".bundle":
			return true
		}
	}
	for _, dir := range append(s.outputs(), "vendor/bundle", "vendor/cache", "vendor/gems", "vendor/ruby") {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return s.program != "" && (name == s.program || strings.HasPrefix(name, s.program+"/"))
}

// outputs are the directories below the source that Jekyll writes when the author runs it.
func (s Source) outputs() []string {
	outputs := []string{"_site"}
	for _, configured := range []string{absolute(s.jekyll.destination, s.dir), absolute(s.jekyll.cache, s.reads())} {
		if name, inside := below(s.dir, configured); inside && name != "." {
			outputs = append(outputs, name)
		}
	}
	return outputs
}

// reads is the directory that Jekyll reads: the site's own, or the one that its configuration names.
func (s Source) reads() string { return absolute(s.jekyll.source, s.dir) }

// junk reports whether desktops and editors leave files of this name behind.
func junk(name string) bool {
	switch {
	case name == ".DS_Store", name == "Thumbs.db", strings.HasPrefix(name, ".#"), strings.HasSuffix(name, "~"),
		len(name) > 1 && strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#"):
		return true
	}
	switch filepath.Ext(name) {
	case ".swp", ".swo", ".swx":
		return true
	}
	return false
}

// excluded are the entries of Jekyll's exclude by which a build omits files that are no source, and
// files that would make Jekyll fail or never end: junk, special files, dangling links and circular
// links. unreadable are the paths of these, without the junk, and outside the links that lead out
// of the site.
func (s Source) excluded() (patterns, unreadable, outside []string, err error) {
	from, err := filepath.EvalSymlinks(s.reads())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot read the site: %w", err)
	}
	if program, inside := below(from, filepath.Join(s.dir, filepath.FromSlash(s.program))); s.program != "" && inside {
		patterns = append(patterns, program+"/")
	}
	for _, output := range s.outputs() {
		if name, inside := below(from, filepath.Join(s.dir, filepath.FromSlash(output))); inside && name != "." {
			patterns = append(patterns, name+"/")
		}
	}
	leaveOut := func(name string) {
		patterns = append(patterns, exactPattern(name))
		// In such a directory, Jekyll treats the whole path as a glob, and finds prefixes only.
		if strings.ContainsAny(from, globCharacters) {
			patterns = append(patterns, name)
		}
	}
	var stuck []string
	// Jekyll follows links. visiting are the directories without links that lead to the current
	// one.
	var visit func(dir, name string, visiting []string) error
	visit = func(dir, name string, visiting []string) error {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			path, child := filepath.Join(dir, entry.Name()), entry.Name()
			if name != "" {
				child = name + "/" + child
			}
			if source, inside := below(s.dir, path); inside && s.made(source) {
				continue
			}
			leave := junk(entry.Name())
			kind := entry.Type()
			if kind == fs.ModeSymlink && !leave {
				info, err := os.Stat(path)
				if err == nil {
					path, err = filepath.EvalSymlinks(path)
				}
				if err != nil {
					unreadable = append(unreadable, child)
					leaveOut(child)
					continue
				}
				kind = info.Mode().Type()
				leave = kind.IsDir() && slices.ContainsFunc(visiting, func(parent string) bool {
					_, inside := below(path, parent)
					return inside
				})
				if leave {
					unreadable = append(unreadable, child)
				}
				if _, inside := below(s.dir, path); !inside && !leave && (kind.IsDir() || kind.IsRegular()) {
					outside = append(outside, child)
				}
			}
			switch {
			case leave:
				leaveOut(child)
			case kind.IsDir():
				if err := visit(path, child, append(slices.Clone(visiting), path)); err != nil {
					return err
				}
			case !kind.IsRegular():
				unreadable = append(unreadable, child)
				leaveOut(child)
				if slices.ContainsFunc(s.jekyll.unfiltered, func(dir string) bool {
					return strings.HasPrefix(child, strings.Trim(filepath.ToSlash(filepath.Clean(dir)), "/")+"/")
				}) {
					stuck = append(stuck, child)
				}
			}
		}
		return nil
	}
	if err := visit(from, "", []string{from}); err != nil {
		return nil, nil, nil, fmt.Errorf("cannot read the site: %w", err)
	}
	if len(stuck) > 0 {
		return nil, nil, nil, fmt.Errorf(
			"cannot build %s: Jekyll would wait for a FIFO, socket or device for ever; remove %s",
			s.dir, strings.Join(stuck, ", "))
	}
	return patterns, unreadable, outside, nil
}

// realPath is a path from a directory, absolute and without links.
func realPath(path, from string) (string, error) {
	path, err := filepath.Abs(absolute(path, from))
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

func absolute(path, from string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(from, path)
}

// below returns a path relative to a directory, with slashes, and whether the directory contains or
// equals it.
func below(dir, path string) (string, bool) {
	relative, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(relative) {
		return "", false
	}
	return filepath.ToSlash(relative), true
}

// inParallel calls do for each item, on all processors, and returns the results in the same order, or
// the first error.
func inParallel[In, Out any](items []In, do func(In) (Out, error)) ([]Out, error) {
	return concurrently(runtime.NumCPU(), items, do)
}

// concurrently is inParallel with a number of items at a time. After an error it starts no other.
func concurrently[In, Out any](workers int, items []In, do func(In) (Out, error)) ([]Out, error) {
	results := make([]Out, len(items))
	var (
		mutex sync.Mutex
		next  int
		first error
	)
	take := func() (int, bool) {
		mutex.Lock()
		defer mutex.Unlock()
		next++
		return next - 1, next <= len(items) && first == nil
	}
	var group sync.WaitGroup
	for range min(workers, len(items)) {
		group.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				result, err := do(items[i])
				mutex.Lock()
				results[i] = result
				if first == nil {
					first = err
				}
				mutex.Unlock()
			}
		})
	}
	group.Wait()
	return results, first
}
