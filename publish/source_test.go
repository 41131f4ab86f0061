package publish

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHashDependsOnNamesAndContentsOnly(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front", "about.html": "about", "a/b.html": "b"})
	first := p.hash()

	about := filepath.Join(p.settings.SiteDir, "about.html")
	for name, c := range map[string]struct {
		do, undo func() error
		differs  bool
	}{
		"another mode": {
			do:   func() error { return os.Chmod(about, 0o755) },
			undo: func() error { return os.Chmod(about, 0o644) },
		},
		"another time": {
			do:   func() error { return os.Chtimes(about, time.Unix(1, 0), time.Unix(1, 0)) },
			undo: func() error { return nil },
		},
		"an empty directory": {
			do:   func() error { return os.Mkdir(filepath.Join(p.settings.SiteDir, "empty"), 0o755) },
			undo: func() error { return os.Remove(filepath.Join(p.settings.SiteDir, "empty")) },
		},
		"other content": {
			do:      func() error { return os.WriteFile(about, []byte("more"), 0o644) },
			undo:    func() error { return os.WriteFile(about, []byte("about"), 0o644) },
			differs: true,
		},
		"another name": {
			do:      func() error { return os.Rename(about, about+"l") },
			undo:    func() error { return os.Rename(about+"l", about) },
			differs: true,
		},
		"a link in place of a file": {
			do:      func() error { return os.Symlink("index.html", filepath.Join(p.settings.SiteDir, "link.html")) },
			undo:    func() error { return os.Remove(filepath.Join(p.settings.SiteDir, "link.html")) },
			differs: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.do())
			if c.differs {
				require.NotEqual(t, first, p.hash())
			} else {
				require.Equal(t, first, p.hash())
			}
			require.NoError(t, c.undo())
			require.Equal(t, first, p.hash())
		})
	}
}

func TestHashSurvivesAMoveOfTheSite(t *testing.T) {
	p := newProject(t, "repository/_infra", "site")
	p.write(map[string]string{"index.html": "front", "_posts/2026-01-01-a.md": "a"})
	first := p.hash()
	outside := t.TempDir()
	for _, siteDir := range []string{"blog", "../blog", "../../blog", filepath.Join(outside, "blog")} {
		require.NoError(t, os.Rename(p.settings.SiteDir, siteDir))
		p.settings.SiteDir = siteDir
		require.Equal(t, first, p.hash(), siteDir)
	}
	require.NoError(t, os.Symlink(p.settings.SiteDir, "link"))
	p.settings.SiteDir = "link"
	require.Equal(t, first, p.hash(), "through a link")
}

func TestHashLeavesOutTheProgramsOwnFolder(t *testing.T) {
	for _, folder := range []string{"_infra", "infra", "tools/infra"} {
		t.Run(folder, func(t *testing.T) {
			site := ".."
			if filepath.Dir(folder) != "." {
				site = "../.."
			}
			p := newProject(t, filepath.Join("blog", folder), site)
			p.write(map[string]string{"index.html": "front", folder + "rastructure.md": "about it"})
			first := p.hash()
			absolute, err := filepath.Abs(site)
			require.NoError(t, err)

			p.write(map[string]string{folder + "/Pulumi.yaml": "name: x", folder + "/site/_posts/2026-01-01-a.md": "a"})
			require.Equal(t, first, p.hash())
			p.settings.SiteDir = absolute
			require.Equal(t, first, p.hash(), "by its absolute path")
			p.write(map[string]string{folder + "rastructure.md": "more about it"})
			require.NotEqual(t, first, p.hash(), "a name that begins like the folder's")
		})
	}
}

func TestProgramsOwnFolderIsNotASite(t *testing.T) {
	p := newProject(t, "project", ".")
	p.write(map[string]string{"index.html": "front"})
	_, err := SiteHash(".", ".build")
	require.ErrorContains(t, err, "it is the program's own directory; move the program into a folder of it")
}

func TestHashIgnoresFilesThatAreNoSourceAndNeverHangs(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{
		"index.html":  "front",
		"_config.yml": "destination: public\ncache_dir: .cache\n",
		"a/b.html":    "b",
	})
	require.NoError(t, os.Symlink("/", filepath.Join(p.settings.SiteDir, "root")))
	require.NoError(t, os.Symlink(".", filepath.Join(p.settings.SiteDir, "loop")))
	first := p.hash()
	p.write(map[string]string{
		"_site/index.html": "built", "public/index.html": "built", ".cache/x": "x", ".jekyll-cache/x": "x",
		".jekyll-metadata": "x",
		".sass-cache/x":    "x", ".bundle/config": "x", "vendor/bundle/x.rb": "x", "node_modules/.cache/x": "x",
		"a/node_modules/x": "x",
		".git/HEAD":        "x", ".DS_Store": "x", "a/Thumbs.db": "x", "index.html~": "x", "#index.html#": "x",
		"a/.b.html.swp": "x",
	})
	require.NoError(t, os.Symlink("me@machine.1:2", filepath.Join(p.settings.SiteDir, ".#index.html")))
	require.Equal(t, first, p.hash())

	p.addSpecialFiles("strange")
	for _, link := range []string{"gone.html", "loop", "around", "self", "null.html", "everything"} {
		require.NoError(t, os.Remove(filepath.Join(p.settings.SiteDir, "strange", link)))
	}
	require.Equal(t, first, p.hash())
}

func TestReadErrorIsNotTreatedAsAnEmptySite(t *testing.T) {
	newProject(t, "project", "site")
	_, err := SiteHash("site", ".build")
	require.ErrorContains(t, err, "has no files")
	_, err = SiteHash("blog", ".build")
	require.ErrorContains(t, err, "cannot find the site")
}

func TestHashIsStableAlthoughABuildWritesToTheSource(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front", "_data/build.yml": "count: 0", "images/old.png": "old"})
	p.settings.Command = `date +%N >_data/build.yml; echo thumbnail >images/new.png; rm -f images/old.png; mkdir _site; cp index.html _site`
	first := p.hash()

	for range 3 {
		p.built()
		require.Contains(t, p.log.String(), "The build wrote into its own source:")
		require.Contains(t, p.log.String(), "_data/build.yml")
		require.Equal(t, first, p.hash())
	}
	clone := filepath.Join(t.TempDir(), "site")
	require.NoError(t, os.CopyFS(clone, os.DirFS("site")))
	require.NoError(t, os.Remove(filepath.Join(clone, "images/new.png")))
	require.NoError(t, os.WriteFile(filepath.Join(clone, "images/old.png"), []byte("old"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(clone, "_data/build.yml"), []byte("count: 0"), 0o644))
	cloned, err := SiteHash(clone, t.TempDir())
	require.NoError(t, err)
	require.Equal(t, first, cloned, "a new clone, without a record")

	p.write(map[string]string{"_data/build.yml": "written by hand"})
	edited := p.hash()
	require.NotEqual(t, first, edited, "an edit of a file that a build wrote")
	p.built()
	require.Equal(t, edited, p.hash())

	// Files that a failed build wrote must not change the hash, either.
	p.settings.Command += "; exit 1"
	_, err = p.build()
	require.Error(t, err)
	require.Equal(t, edited, p.hash())
}

func TestBuildThatLeavesItsSourceUnchangedLogsNothing(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front"})
	p.settings.Command = `mkdir _site; cp index.html _site`
	p.built()
	require.Empty(t, p.log.String())
	require.NoFileExists(t, ".build/written.json")
}

func TestCommittedFileOfABuildCounts(t *testing.T) {
	p := newProject(t, "blog/_infra", "..")
	git := func(args ...string) {
		t.Helper()
		command := exec.Command("git",
			append([]string{"-c", "user.name=test", "-c", "user.email=test@localhost"}, args...)...)
		command.Dir = p.settings.SiteDir
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
	}
	p.write(map[string]string{"index.html": "front", "_infra/.gitignore": ".build"})
	git("init", "--quiet")
	git("add", ".")
	git("commit", "--quiet", "-m", "a site")
	before := p.hash()
	p.settings.Command = `echo gems >Gemfile.lock; mkdir -p _site; cp index.html _site`
	p.built()
	require.Equal(t, before, p.hash(), "a new clone does not have the lock file")

	git("add", "Gemfile.lock")
	git("commit", "--quiet", "-m", "lock the gems")
	committed := p.hash()
	require.NotEqual(t, before, committed, "a new clone has the lock file")
	clone, err := SiteHash("..", t.TempDir())
	require.NoError(t, err)
	require.Equal(t, clone, committed)
}
