// Package publish builds the site, checks that servers will accept it, and uploads it to the content bucket.
//
// A build runs in the site's own directory, because plugins expect git's history there and keep their caches there.
// It runs without the deployment's environment variables. The result goes to the work directory, where nothing else
// writes, so that the listed files are the ones that are uploaded.
//
// Some builds write to their own source: a lock file, a build number, thumbnails. The build records such files (see
// recordFile), and the hash of the source uses their content before the build. A build therefore does not cause another
// one, neither on this machine nor in a new clone.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"immutable-infra/server/manifest"
)

// Settings decides what is built and where. Relative paths start at the working directory, which is the project's.
type Settings struct {
	// SiteDir is the directory of the Jekyll site.
	SiteDir string
	// WorkDir is where builds are kept, in a subdirectory for each stack.
	WorkDir string
	Stack   string
	// Command is a bash command that builds the site into SiteDir's _site. Default: Jekyll, with bundler if there is a
	// Gemfile.
	Command string
	// JekyllEnv is JEKYLL_ENV of the build.
	JekyllEnv string
	// SourceHash is the SiteHash of the source to build. A build of another source is never uploaded.
	SourceHash string
	// Log receives the output of the build.
	Log io.Writer
}

// path returns a path in the stack's directory.
func (s Settings) path(name string) string { return filepath.Join(s.WorkDir, s.Stack, name) }

// siteCopy returns the directory of the built site. Only builds write to it.
func (s Settings) siteCopy() string { return s.path("site") }

// originFile returns the path of the file with the origin of siteCopy.
func (s Settings) originFile() string { return s.path("origin") }

// origin returns a text that identifies everything that a build depends on.
func (s Settings) origin() string {
	return fmt.Sprintf("%s\n%q\n%q\n", s.SourceHash, s.Command, s.JekyllEnv)
}

// manifestFile returns the path of the manifest of siteCopy.
func (s Settings) manifestFile() string { return s.path(manifest.Name) }

// Build builds the site, checks that servers will accept it, keeps it in the work directory, and returns its
// manifest. A failed build leaves the previous one unchanged.
func Build(ctx context.Context, s Settings) (manifest.Manifest, error) {
	source, err := OpenSource(s.SiteDir, ".", s.WorkDir)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if s.WorkDir, err = filepath.Abs(s.WorkDir); err != nil {
		return manifest.Manifest{}, err
	}
	output := s.path("site.new")
	if err := os.RemoveAll(output); err != nil {
		return manifest.Manifest{}, fmt.Errorf("cannot remove an earlier build: %w", err)
	}
	if err := os.MkdirAll(output, 0o755); err != nil {
		return manifest.Manifest{}, fmt.Errorf("cannot keep the build: %w", err)
	}
	if err := s.runRecorded(ctx, source, output); err != nil {
		return manifest.Manifest{}, err
	}
	list, err := check(source, output, s.Log)
	if err != nil {
		return manifest.Manifest{}, err
	}
	if err := s.keep(output, list); err != nil {
		return manifest.Manifest{}, fmt.Errorf("cannot keep the build: %w", err)
	}
	return list, nil
}

// keep replaces the previous build. Until the new build is complete, the work directory counts as having no build.
func (s Settings) keep(output string, list manifest.Manifest) error {
	for _, path := range []string{s.originFile(), s.siteCopy()} {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	if err := os.Rename(output, s.siteCopy()); err != nil {
		return err
	}
	if err := writeFile(s.manifestFile(), list.Text()); err != nil {
		return err
	}
	return writeFile(s.originFile(), []byte(s.origin()))
}

// runRecorded runs the build and records which files it wrote to its own source.
func (s Settings) runRecorded(ctx context.Context, source Source, output string) error {
	record, err := source.readRecord()
	if err != nil {
		return err
	}
	raw, err := source.scan()
	if err != nil {
		return err
	}
	before := source.original(raw, record)
	failed := s.run(ctx, source, output)
	after, err := source.scan()
	if err != nil {
		return errors.Join(failed, err)
	}
	wrote, err := source.recordWritten(raw, before, after, record)
	if len(wrote) > 0 {
		fmt.Fprintf(s.Log, "The build wrote into its own source: %s. They count as they were before it; "+
			"if you edited one of them meanwhile, delete %s.\n", abridged(wrote), source.record)
	}
	return errors.Join(failed, err)
}

// run builds the site into output.
func (s Settings) run(ctx context.Context, source Source, output string) error {
	run := func(environment []string, name string, args ...string) error {
		return s.command(ctx, source.dir, environment, name, args...)
	}
	if s.Command != "" {
		built := filepath.Join(source.dir, "_site")
		if err := os.RemoveAll(built); err != nil {
			return fmt.Errorf("cannot remove an earlier build: %w", err)
		}
		if err := run(nil, "bash", "-c", s.Command); err != nil {
			return fmt.Errorf("cannot build the site: %q in %s: %w", s.Command, source.dir, err)
		}
		if info, err := os.Stat(built); err != nil || !info.IsDir() {
			return fmt.Errorf("cannot find the built site: %q left no _site in %s", s.Command, source.dir)
		}
		return copyTree(source, built, output)
	}

	jekyll := []string{"jekyll"}
	var gems []string
	for _, gemfile := range []string{"Gemfile", "gems.rb"} {
		if _, err := os.Stat(filepath.Join(source.dir, gemfile)); err != nil {
			continue
		}
		var err error
		if gems, err = s.installGems(source.dir, run); err != nil {
			return err
		}
		jekyll = []string{"bundle", "exec", "jekyll"}
		break
	}
	// Jekyll splits --config at commas, and builds without any configuration if it cannot read one of the files. Use a
	// temporary directory, whose name has no comma.
	temporary, err := os.MkdirTemp("", "publish-")
	if err != nil {
		return fmt.Errorf("cannot write Jekyll's configuration: %w", err)
	}
	defer os.RemoveAll(temporary)
	config := filepath.Join(temporary, "jekyll.yml")
	if err := s.writeConfig(source, config); err != nil {
		return err
	}
	if source.jekyll.file != "" {
		config = source.jekyll.file + "," + config
	}
	args := append(jekyll, "build", "--config", config, "--destination", output)
	if err := run(gems, args[0], args[1:]...); err != nil {
		hint := ""
		if errors.Is(err, exec.ErrNotFound) {
			hint = "; install Jekyll (on Debian: apt-get install jekyll), or add a Gemfile and install bundler"
		}
		return fmt.Errorf("cannot build the site: %s in %s: %w%s", strings.Join(jekyll, " "), source.dir, err, hint)
	}
	return copyTree(source, output, output)
}

// installGems returns the environment variables with which bundler finds the gems of a Gemfile. It installs missing
// gems below the work directory, in the versions of the lock file if there is one.
func (s Settings) installGems(
	dir string, run func(environment []string, name string, args ...string) error,
) ([]string, error) {
	err := run(nil, "bundle", "check")
	if err == nil {
		return nil, nil
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("cannot install the site's gems: %w; install bundler (on Debian: apt-get install bundler)",
			err)
	}
	gems := []string{"BUNDLE_PATH=" + filepath.Join(s.WorkDir, "gems")}
	for _, lock := range []string{"Gemfile.lock", "gems.locked"} {
		if _, err := os.Stat(filepath.Join(dir, lock)); err == nil {
			gems = append(gems, "BUNDLE_FROZEN=true")
			break
		}
	}
	fmt.Fprintln(s.Log, "Installing the site's gems into", gems[0][len("BUNDLE_PATH="):])
	if err := run(gems, "bundle", "install"); err != nil {
		return nil, fmt.Errorf("cannot install the site's gems: bundle install: %w; run it in %s to see why, and commit "+
			"Gemfile.lock", err, dir)
	}
	return gems, nil
}

// writeConfig writes a configuration for Jekyll with the settings that the build adds to the site's own.
func (s Settings) writeConfig(source Source, path string) error {
	exclude, unreadable, outside, err := source.excluded()
	if err != nil {
		return err
	}
	if len(unreadable) > 0 {
		fmt.Fprintf(s.Log, "Left out: %s. They are not regular files, or are dangling or circular links.\n",
			abridged(unreadable))
	}
	if len(outside) > 0 {
		fmt.Fprintf(s.Log, "Links lead out of the site: %s. Changes of their targets do not trigger a build.\n",
			abridged(outside))
	}
	text, err := yaml.Marshal(map[string]any{
		"exclude":     slices.Concat(source.jekyll.exclude, exclude),
		"incremental": false,
	})
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write Jekyll's configuration: %w", err)
	}
	return nil
}

// killDelay is how long a build may take to end after SIGTERM, before it is killed.
const killDelay = 10 * time.Second

// command runs a command of a build in a minimal environment: the deployment's keys, tokens and passphrases must not
// reach code that is part of a site.
func (s Settings) command(ctx context.Context, dir string, environment []string, name string, args ...string) error {
	command := exec.CommandContext(ctx, name, args...)
	command.Dir = dir
	command.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + os.Getenv("HOME"),
		"LANG=C.UTF-8",
		// A post's date decides its URL, which must be the same on every machine.
		"TZ=UTC",
		"JEKYLL_ENV=" + s.JekyllEnv,
	}, environment...)
	// Standard output is reserved for the release.
	command.Stdout, command.Stderr = s.Log, s.Log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = killDelay
	return command.Run()
}

// abridged shortens a list that may have thousands of names. Dotfiles, which may belong to an editor or contain
// credentials, are only counted: the log of a public workflow is public.
func abridged(names []string) string {
	const most = 10
	shown := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return strings.HasPrefix(name, ".") || strings.Contains(name, "/.")
	})
	var and []string
	if hidden := len(names) - len(shown); hidden > 0 {
		and = append(and, fmt.Sprintf("%d whose names begin with a dot", hidden))
	}
	if more := len(shown) - most; more > 0 {
		shown, and = shown[:most], append(and, fmt.Sprintf("%d more", more))
	}
	if len(shown) > 0 {
		and = slices.Insert(and, 0, strings.Join(shown, ", "))
	}
	return strings.Join(and, " and ")
}
