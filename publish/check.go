package publish

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"immutable-infra/server/manifest"
	"immutable-infra/server/rules"
)

// copyTree copies a built site to output, and replaces links by their targets. If output equals built, it only replaces
// the links.
func copyTree(source Source, built, output string) error {
	built, err := filepath.EvalSymlinks(built)
	if err == nil {
		// If the path of the work directory contains a link, the paths of a file must still be comparable.
		output, err = filepath.EvalSymlinks(output)
	}
	if err != nil {
		return fmt.Errorf("cannot copy the built site: %w", err)
	}
	copier := treeCopier{source: source, built: built}
	if err := copier.copy(built, output, "", nil); err != nil {
		return fmt.Errorf("cannot copy the built site: %w", err)
	}
	return publishError(copier.problems)
}

type treeCopier struct {
	source   Source
	built    string
	problems []string
}

// copy copies from, which is not a link, to the path to. parents are the directories that contain it, with links
// resolved.
func (c *treeCopier) copy(from, to, name string, parents []string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch kind := info.Mode().Type(); {
	case kind.IsDir():
		if slices.Contains(parents, from) {
			c.problems = append(c.problems, fmt.Sprintf("%s: a link to a directory that it is in; remove it", name))
			return nil
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		entries, err := os.ReadDir(from)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			child := entry.Name()
			if name != "" {
				child = name + "/" + child
			}
			if err := c.entry(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()), child,
				append(slices.Clone(parents), from)); err != nil {
				return err
			}
		}
		return nil
	case kind.IsRegular():
		if from == to {
			return nil
		}
		return copyFile(from, to)
	}
	c.problems = append(c.problems, fmt.Sprintf("%s: neither a file nor a directory; remove it", name))
	return nil
}

// entry copies one entry of a directory.
func (c *treeCopier) entry(from, to, name string, parents []string) error {
	target, err := os.Readlink(from)
	if err != nil {
		return c.copy(from, to, name, parents) // not a link
	}
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		c.problems = append(c.problems, fmt.Sprintf("%s: a link to %s, which does not exist; remove it", name, target))
		return nil
	}
	if !c.mayCopy(real) {
		c.problems = append(c.problems,
			fmt.Sprintf("%s: a link to %s, which is outside the site; copy the file into the site", name, real))
		return nil
	}
	if from == to {
		if err := os.Remove(from); err != nil {
			return err
		}
	}
	return c.copy(real, to, name, parents)
}

// mayCopy reports whether a link in the build may refer to a path: it must be in the build or in the source.
func (c *treeCopier) mayCopy(path string) bool {
	if _, inside := relative(c.built, path); inside {
		return true
	}
	name, inside := relative(c.source.dir, path)
	return inside && !c.source.generated(name)
}

// copyFile copies the content of a file.
func copyFile(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	_, err = io.Copy(target, source)
	return err
}

// check returns the manifest of a built site. If no server would accept the site, the error lists all problems.
func check(source Source, site string, log io.Writer) (manifest.Manifest, error) {
	headers, err := rulesFile(source, site, rules.HeadersFile)
	if err != nil {
		return manifest.Manifest{}, err
	}
	redirects, err := rulesFile(source, site, rules.RedirectsFile)
	if err != nil {
		return manifest.Manifest{}, err
	}
	files, err := listFiles(site)
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("cannot check the built site: %w", err)
	}
	limits := manifest.DefaultLimits()
	problems := slices.Concat(overLimits(files, limits), fileProblems(files))
	parsed, err := rules.Parse(headers, redirects)
	if err != nil {
		problems = append(problems, strings.Split(err.Error(), "\n")...)
	}
	if err := publishError(problems); err != nil {
		return manifest.Manifest{}, err
	}
	sums, err := inParallel(files, func(file builtFile) (manifest.Digest, error) {
		digest, _, err := manifest.DigestFile(filepath.Join(site, filepath.FromSlash(file.name)))
		return digest, err
	})
	if err != nil {
		return manifest.Manifest{}, fmt.Errorf("cannot check the built site: %w", err)
	}
	digests := make(map[string]manifest.Digest, len(files))
	for i, file := range files {
		digests[file.name] = sums[i]
	}
	list, err := manifest.New(digests, limits)
	if err != nil {
		return manifest.Manifest{}, publishError([]string{err.Error()})
	}
	for _, warning := range parsed.Warnings(func(name string) bool { _, ok := digests[name]; return ok }) {
		fmt.Fprintln(log, "warning:", warning)
	}
	return list, nil
}

// rulesFile returns the content of a rules file in the root of a built site, or nil. If the build has none, it copies
// the source's file: Jekyll omits names that start with an underscore.
func rulesFile(source Source, site, name string) ([]byte, error) {
	built := filepath.Join(site, name)
	if _, err := os.Stat(built); errors.Is(err, fs.ErrNotExist) {
		for _, dir := range []string{source.dir, source.jekyllDir()} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if err := copyFile(filepath.Join(dir, name), built); err != nil {
				return nil, fmt.Errorf("cannot copy %s into the build: %w", name, err)
			}
			break
		}
	}
	content, err := os.ReadFile(built)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// builtFile is a file of the built site.
type builtFile struct {
	name string
	size int64
	// pointer is true if the file is a Git LFS pointer instead of the content.
	pointer bool
}

func listFiles(site string) ([]builtFile, error) {
	var files []builtFile
	err := filepath.WalkDir(site, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, _ := relative(site, path)
		pointer, err := isPointer(path, info.Size())
		files = append(files, builtFile{name, info.Size(), pointer})
		return err
	})
	return files, err
}

// fileProblems returns the problems of individual files.
func fileProblems(files []builtFile) (problems []string) {
	index := false
	for _, file := range files {
		if problem := nameProblem(file.name); problem != "" {
			problems = append(problems, problem)
		}
		if file.pointer {
			problems = append(problems,
				fmt.Sprintf("%q is a pointer of Git LFS instead of the file; run git lfs pull", file.name))
		}
		if file.name == "index.html" {
			index = true
			if file.size == 0 {
				problems = append(problems, "index.html is empty")
			}
		}
	}
	if !index {
		problems = append(problems, "there is no index.html: a site without a front page is never served")
	}
	return problems
}

// nameProblem returns why servers reject a file of this name, or "".
func nameProblem(name string) string {
	for _, own := range []string{".well-known/release", ".well-known/server", ".well-known/acme-challenge"} {
		if name == own || strings.HasPrefix(name, own+"/") {
			return fmt.Sprintf("servers answer at /%s themselves; remove %q", own, name)
		}
	}
	if err := manifest.CheckPath(name); err != nil {
		return err.Error()
	}
	return ""
}

// isPointer reports whether a file is a Git LFS pointer.
func isPointer(path string, size int64) (bool, error) {
	// Pointers must have less than 1,024 bytes.
	if size >= 1024 {
		return false, nil
	}
	content, err := os.ReadFile(path)
	return bytes.HasPrefix(content, []byte("version https://git-lfs.github.com/spec/v1\n")) &&
		bytes.Contains(content, []byte("\noid sha256:")), err
}

// overLimits returns a problem for each limit of servers that the files exceed together.
func overLimits(files []builtFile, limits manifest.Limits) (problems []string) {
	if len(files) > limits.Files {
		problems = append(problems, fmt.Sprintf("the site has %d files: servers accept %d", len(files), limits.Files))
	}
	var sum int64
	for _, file := range files {
		sum += file.size
	}
	if sum <= limits.Bytes {
		return problems
	}
	largest := slices.SortedFunc(slices.Values(files), func(a, b builtFile) int { return cmp.Compare(b.size, a.size) })
	var shown []string
	for _, file := range largest[:min(5, len(largest))] {
		shown = append(shown, fmt.Sprintf("%s (%s)", file.name, mebibytes(file.size)))
	}
	return append(problems, fmt.Sprintf("the site has %s: servers accept %s; the largest files are %s",
		mebibytes(sum), mebibytes(limits.Bytes), strings.Join(shown, ", ")))
}

func mebibytes(size int64) string { return fmt.Sprintf("%.1f MiB", float64(size)/(1<<20)) }

// publishError returns one error for all problems, or nil if there are none.
func publishError(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	const most = 50
	if more := len(problems) - most; more > 0 {
		problems = append(problems[:most:most], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("cannot publish the built site:\n  %s", strings.Join(problems, "\n  "))
}
