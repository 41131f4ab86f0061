package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

func TestASiteAboveTheProgramIsBuiltWithoutIt(t *testing.T) {
	testtool.Path(t, "jekyll")
	p := newProject(t, "blog/infra", "..")
	p.write(map[string]string{
		"_config.yml":                            "title: blog\nexclude: [notes.md, 404]\n",
		"index.md":                               frontMatter + "front",
		"infrastructure.md":                      frontMatter + "about it",
		"notes.md":                               frontMatter + "notes",
		"_posts/2026-01-01-mine.md":              frontMatter + "mine",
		"infra/readme.md":                        frontMatter + "the program",
		"infra/site/index.html":                  frontMatter + "another site",
		"infra/site/_posts/2026-01-02-others.md": frontMatter + "another's",
		"infra/main.go":                          "package main",
	})
	files := p.built()
	require.ElementsMatch(t, []string{"index.html", "infrastructure.html", "2026/01/01/mine.html"}, keys(files))
	require.Equal(t, files, p.built(), "the output of a build is not part of the next build's source")
	require.NotContains(t, p.log.String(), "wrote into its own source")
}

func TestBuildInLinkedWorkDirectoryIsComplete(t *testing.T) {
	p := newProject(t, ".", "site")
	fakeTools(t, map[string]string{"jekyll": `while [ "$1" != --destination ]; do shift; done; echo front >"$2/index.html"`})
	require.NoError(t, os.Symlink(t.TempDir(), ".build"))
	require.Equal(t, map[string]string{"index.html": "front\n"}, p.built())
	require.Equal(t, map[string]string{"index.html": "front\n"}, p.built())
}

func TestJekyllBuildsASiteWithSpecialFiles(t *testing.T) {
	testtool.Path(t, "jekyll")
	p := newProject(t, "project", "real")
	require.NoError(t, os.Symlink("real", "site"))
	p.settings.SiteDir = "site"
	shared := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(shared, "shared.txt"), []byte("shared"), 0o644))
	p.write(map[string]string{
		"_config.yml": "destination: public\nincremental: true\n", "index.html": frontMatter + "front",
		"pipe.htm.txt":       "kept",
		"deep/pipe.html.txt": "kept", "public/stale.html": "an earlier build's", "_posts/2026-01-01-a.md": frontMatter + "a",
		"a/file.txt": "linked",
	})
	require.NoError(t, os.Symlink("a", filepath.Join("site", "linked")))
	require.NoError(t, os.Symlink(shared, filepath.Join("site", "shared")))
	// These two links refer to each other.
	require.NoError(t, os.Symlink("../linked", filepath.Join("site", "deep", "x")))
	require.NoError(t, os.Symlink("../deep", filepath.Join("site", "a", "y")))
	p.addSpecialFiles("")
	p.addSpecialFiles("deep")
	p.addSpecialFiles("_posts")
	hash := p.hash()

	files := p.built()
	for _, name := range []string{
		"index.html", "pipe.htm.txt", "deep/pipe.html.txt", "2026/01/01/a.html", "a/file.txt", "linked/file.txt",
		"shared/shared.txt",
	} {
		require.Contains(t, files, name)
	}
	for name := range files {
		for _, word := range []string{"stale", "Thumbs", ".swp", "gone", "loop", "around", "everything", "socket"} {
			require.NotContains(t, name, word)
		}
		require.False(t, strings.HasSuffix(name, "pipe.html"), name)
	}
	require.Contains(t, p.log.String(), "Links lead out of the site: shared.")
	require.Equal(t, hash, p.hash())
	require.NotContains(t, p.log.String(), "wrote into its own source", "metadata of an incremental build")
}

func TestJekyllBuildsASiteInADirectoryOfAnyName(t *testing.T) {
	testtool.Path(t, "jekyll")
	p := newProject(t, "project, [a] {b}*?", "../blog, [1] {2}*?")
	p.write(map[string]string{"_config.yml": "title: x", "index.html": frontMatter + "front"})
	p.addSpecialFiles("")
	require.Equal(t, map[string]string{"index.html": "front"}, p.built())
	require.Regexp(t, `Left out: .*gone\.html.*pipe\.html`, p.log.String())
	require.NotContains(t, p.log.String(), ".#index.html", "junk is not reported")
}

func TestFIFOThatJekyllWouldReadIsRejectedByName(t *testing.T) {
	for _, dir := range []string{"_data", "_layouts", "_plugins"} {
		t.Run(dir, func(t *testing.T) {
			p := newProject(t, "project", "site")
			p.write(map[string]string{"index.html": "front"})
			p.addSpecialFiles(dir)
			_, err := p.build()
			require.ErrorContains(t, err, dir+"/pipe.html")
			require.ErrorContains(t, err, "remove")
		})
	}
}

func TestFilesOfJekyllAndPluginsDoNotChangeTheHash(t *testing.T) {
	testtool.Path(t, "jekyll")
	p := newProject(t, "project", "site")
	p.write(map[string]string{
		"_config.yml": "incremental: true\n", "index.html": frontMatter + "front",
		"_plugins/stamp.rb": `Jekyll::Hooks.register(:site, :after_init) { |site| Dir.mkdir("_data") unless Dir.exist?("_data"); File.write("_data/build.yml", "at: #{Time.now.to_f}") }`,
	})
	hash := p.hash()
	for range 2 {
		p.built()
		require.Contains(t, p.log.String(), "The build wrote into its own source: _data/build.yml.")
		require.Equal(t, hash, p.hash())
	}
}

func TestLogOfABuildNamesNoDotfiles(t *testing.T) {
	require.Equal(t, "a.html, b/c.html", abridged([]string{"a.html", "b/c.html"}))
	require.Equal(t, "a.html and 2 whose names begin with a dot", abridged([]string{".env", "a.html", "b/.netrc"}))
	require.Equal(t, "1 whose names begin with a dot", abridged([]string{".ssh/agent"}))
	many := []string{".env"}
	for i := range 12 {
		many = append(many, fmt.Sprintf("%02d.html", i))
	}
	require.Equal(t,
		"00.html, 01.html, 02.html, 03.html, 04.html, 05.html, 06.html, 07.html, 08.html, 09.html and 1 whose names begin "+
			"with a dot and 2 more", abridged(many))

	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front", ".env": "KEY=1"})
	p.settings.Command = "date +%N >.env; date +%N >count.txt; mkdir -p _site; cp index.html _site/"
	_, err := p.build()
	require.NoError(t, err)
	require.Contains(t, p.log.String(),
		"The build wrote into its own source: count.txt and 1 whose names begin with a dot.")
	require.NotContains(t, p.log.String(), ".env")
}

func TestSiteDecidesWhetherFuturePostsArePublished(t *testing.T) {
	testtool.Path(t, "jekyll")
	for name, c := range map[string]struct {
		file, config string
		published    bool
	}{
		"not set":    {"_config.yml", "title: x", false},
		"false":      {"_config.yml", "future: false", false},
		"true":       {"_config.yml", "future: true", true},
		"twice":      {"_config.yaml", "future: false\nexclude: [a]\nexclude: [b]\nfuture: true", true},
		"no file":    {"readme.txt", "", false},
		"empty file": {"_config.yml", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, "project", "site")
			p.write(map[string]string{
				c.file:                         c.config,
				"index.html":                   "front",
				"_posts/2099-01-02-embargo.md": frontMatter + "secret",
			})
			_, published := p.built()["2099/01/02/embargo.html"]
			require.Equal(t, c.published, published)
		})
	}
}

func TestPostHasTheSameURLInEveryTimeZone(t *testing.T) {
	testtool.Path(t, "jekyll")
	for _, zone := range []string{"", "America/Los_Angeles", "Pacific/Kiritimati"} {
		t.Run("TZ="+zone, func(t *testing.T) {
			t.Setenv("TZ", zone)
			p := newProject(t, "project", "site")
			p.write(map[string]string{
				"index.html":                 "front",
				"_posts/2026-03-01-early.md": "---\ndate: 2026-03-01 00:30:00 +0100\n---\nearly",
			})
			require.Contains(t, p.built(), "2026/02/28/early.html")
		})
	}
}

func TestGemsAreInstalledIfAGemfileNeedsThem(t *testing.T) {
	const jekyll = `
echo "$PWD: bundle $* $(env | grep ^BUNDLE | sort | tr '\n' ' ')" >>"$HOME/calls"
case $1 in
check) [ -n "$BUNDLE_PATH" ] || [ -e "$HOME/installed" ];;
install) [ ! -e "$HOME/broken" ] || { echo "Could not find gem 'nokogiri'"; exit 7; };;
exec) while [ "$1" != --destination ]; do shift; done; echo front >"$2/index.html";;
esac
`
	for name, c := range map[string]struct {
		files, home []string
		calls       []string
		err         string
	}{
		"no Gemfile": {
			err: "exit status 1",
		},
		"all gems are installed": {
			files: []string{"Gemfile", "Gemfile.lock"}, home: []string{"installed"},
			calls: []string{"bundle check", "bundle exec jekyll build"},
		},
		"gems are missing": {
			files: []string{"Gemfile"},
			calls: []string{"bundle check", "bundle install BUNDLE_PATH=GEMS", "bundle exec jekyll build BUNDLE_PATH=GEMS"},
		},
		"gems of a lock file are missing": {
			files: []string{"Gemfile", "Gemfile.lock"},
			calls: []string{
				"bundle check", "bundle install BUNDLE_FROZEN=true BUNDLE_PATH=GEMS",
				"bundle exec jekyll build BUNDLE_FROZEN=true BUNDLE_PATH=GEMS",
			},
		},
		"with the newer file names": {
			files: []string{"gems.rb", "gems.locked"},
			calls: []string{
				"bundle check", "bundle install BUNDLE_FROZEN=true BUNDLE_PATH=GEMS",
				"bundle exec jekyll build BUNDLE_FROZEN=true BUNDLE_PATH=GEMS",
			},
		},
		"gems cannot be installed": {
			files: []string{"Gemfile"}, home: []string{"broken"},
			calls: []string{"bundle check", "bundle install BUNDLE_PATH=GEMS"},
			err:   "cannot install the site's gems: bundle install: exit status 7; run it in",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, "project", "site")
			home := t.TempDir()
			t.Setenv("HOME", home)
			t.Setenv("BUNDLE_GEMFILE", "/elsewhere/Gemfile")
			fakeTools(t, map[string]string{"bundle": jekyll, "jekyll": "exit 1"})
			for _, file := range c.files {
				p.write(map[string]string{file: ""})
			}
			p.write(map[string]string{"about.html": ""})
			for _, file := range c.home {
				require.NoError(t, os.WriteFile(filepath.Join(home, file), nil, 0o644))
			}
			_, err := p.build()
			if c.err == "" {
				require.NoError(t, err, p.log.String())
			} else {
				require.ErrorContains(t, err, c.err)
			}
			called, _ := os.ReadFile(filepath.Join(home, "calls"))
			work, err := filepath.Abs(".build")
			require.NoError(t, err)
			site, err := filepath.Abs("site")
			require.NoError(t, err)
			var calls []string
			for _, call := range strings.Split(strings.TrimSpace(string(called)), "\n") {
				if call == "" {
					continue
				}
				call, inSite := strings.CutPrefix(call, site+": ")
				require.True(t, inSite, call)
				before, after, _ := strings.Cut(call, "--config")
				if _, variables, found := strings.Cut(after, "site.new "); found {
					before += variables
				}
				calls = append(calls,
					strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(before, work+"/gems", "GEMS"), "  ", " ")))
			}
			require.Equal(t, c.calls, calls)
			if slices.Contains(c.home, "broken") {
				require.Contains(t, p.log.String(), "Could not find gem 'nokogiri'", "bundler's own message is shown")
			}
		})
	}
}

func TestTheBuildSeesFiveVariables(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_SECRET_ACCESS_KEY": "key", "PULUMI_CONFIG_PASSPHRASE": "phrase", "PULUMI_ACCESS_TOKEN": "token",
		"GITHUB_TOKEN":                   "token",
		"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "token", "BUCKET": "content", "TZ": "Europe/Berlin", "LC_ALL": "de_DE.UTF-8",
		"RUBYOPT": "-w", "BASH_ENV": "/evil",
	} {
		t.Setenv(name, value)
	}
	expected := []string{
		"HOME=" + os.Getenv("HOME"), "JEKYLL_ENV=production", "LANG=C.UTF-8", "PATH=" + os.Getenv("PATH"), "TZ=UTC",
	}
	// Without the variables that bash sets itself.
	const print = `mkdir -p _site && env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD= | sort >_site/index.html`
	t.Run("of a command", func(t *testing.T) {
		p := newProject(t, "project", "site")
		p.write(map[string]string{"a.txt": "a"})
		p.settings.Command = print + `; cat >_site/stdin.txt; ls -l /proc/self/fd >_site/open.txt`
		files := p.built()
		require.Equal(t, expected, lines(files["index.html"]))
		require.Empty(t, files["stdin.txt"])
		require.NotContains(t, files["open.txt"], p.settings.WorkDir)
	})
	t.Run("of Jekyll", func(t *testing.T) {
		p := newProject(t, "project", "site")
		p.write(map[string]string{"a.txt": "a"})
		fakeTools(t, map[string]string{
			"jekyll": `while [ "$1" != --destination ]; do shift; done; cd "$2"/..; rm -rf _site; ` + print + `; mv _site/index.html "$2"; rmdir _site`,
		})
		require.Equal(t, append(slices.Clone(expected[:3]), "PATH="+os.Getenv("PATH"), "TZ=UTC"),
			lines(p.built()["index.html"]))
	})
}

func TestFailedBuildKeepsThePreviousOne(t *testing.T) {
	for name, c := range map[string]struct{ command, message, log string }{
		"fails": {
			command: "echo 'Liquid Exception: no endif' >&2; exit 3",
			message: "exit status 3",
			log:     "Liquid Exception: no endif",
		},
		"builds nothing": {command: "true", message: "left no _site"},
		"no front page":  {command: "mkdir _site && echo a >_site/about.html", message: "there is no index.html"},
		"empty index":    {command: "mkdir _site && touch _site/index.html", message: "index.html is empty"},
		"nothing in it":  {command: "mkdir _site", message: "there is no index.html"},
		"a missing tool": {command: "no-such-program", message: "exit status 127", log: "no-such-program"},
		"a stale link":   {command: "ln -s gone _site", message: "left no _site"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, "project", "site")
			p.write(map[string]string{"index.html": "front"})
			const good = "mkdir _site && cp index.html _site"
			p.settings.Command = good
			p.built()
			before, err := os.ReadFile(p.settings.manifestFile())
			require.NoError(t, err)
			p.settings.Command = c.command
			_, err = p.build()
			require.ErrorContains(t, err, c.message)
			require.Contains(t, p.log.String(), c.log)
			after, err := os.ReadFile(p.settings.manifestFile())
			require.NoError(t, err)
			require.Equal(t, string(before), string(after))
			p.settings.Command = good
			_, _, err = p.settings.lastBuild()
			require.NoError(t, err)
		})
	}
}

func TestBuildDoesNotContainFilesOfEarlierOnes(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front"})
	p.settings.Command = "mkdir _site && cp index.html _site"
	first := p.built()
	p.settings.Command += " && touch _site/more"
	require.Len(t, p.built(), 2)
	p.settings.Command = "mkdir _site && cp index.html _site"
	require.Equal(t, first, p.built())
}

func TestRulesAreCopiedIntoTheBuild(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front", "_headers": "/*\n  X-A: source\n", "_redirects": "/a /b\n"})
	p.settings.Command = "mkdir _site && cp index.html _site && printf '/*\n  X-A: built\n' >_site/_headers"
	files := p.built()
	require.Equal(t, "/*\n  X-A: built\n", files["_headers"])
	require.Equal(t, "/a /b\n", files["_redirects"])
}

func TestLinksInABuildAreCopiedOrRejected(t *testing.T) {
	p := newProject(t, "blog/_infra", "..")
	require.NoError(t, os.WriteFile("Pulumi.production.yaml", []byte("secret"), 0o644))
	p.write(map[string]string{"index.html": "front", "big/movie.mp4": "movie", "big/sub/a.txt": "a"})
	p.settings.Command = `mkdir -p _site/x && cp index.html _site && cd _site && ln -s index.html home.html && ln -s ../../big x/big && ln -s "$OLDPWD/big/movie.mp4" movie.mp4`
	require.Equal(t, map[string]string{
		"index.html": "front", "home.html": "front", "x/big/movie.mp4": "movie", "x/big/sub/a.txt": "a", "movie.mp4": "movie",
	}, p.built())

	p.settings.Command += `; ln -s /etc/passwd passwd; ln -s ../_infra/Pulumi.production.yaml config; ln -s gone lost; ln -s .. x/up; mkfifo pipe`
	_, err := p.build()
	for _, name := range []string{"passwd", "config", "lost", "x/up", "pipe"} {
		require.ErrorContains(t, err, "\n  "+name+": ")
	}
	require.NotContains(t, err.Error(), "home.html")
}

func TestJekyllsOwnLinksAreCopied(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"about.html": "about"})
	site, err := filepath.Abs("site")
	require.NoError(t, err)
	fakeTools(t, map[string]string{
		"jekyll": fmt.Sprintf(`while [ "$1" != --destination ]; do shift; done; cd "$2"; echo front >index.html; ln -s index.html home.html; ln -s %s/about.html .; ln -s %s all`, site, site),
	})
	require.Equal(t, map[string]string{
		"index.html": "front\n", "home.html": "front\n", "about.html": "about", "all/about.html": "about",
	}, p.built())
}

func keys(files map[string]string) []string {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	return names
}

func TestTheSitesOwnConfigurationIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		files    map[string]string
		expected jekyllConfig
	}{
		"none": {nil, jekyllConfig{exclude: defaultExclude, source: ".", destination: "_site", cache: ".jekyll-cache"}},
		"YAML goes before the others": {
			map[string]string{"_config.yml": "exclude: [a, 404, *x]\n", "_config.toml": `exclude = ["b"]`},
			jekyllConfig{},
		},
		"YAML": {
			map[string]string{
				"_config.yml": "\ufefftitle: &x a\ndestination: ../out\nexclude: [a]\nexclude: [*x, 404, b c]\nsource: " +
					"src\ncache_dir: .c\ncollections: {x: {output: true}}\n",
			},
			jekyllConfig{
				file: "_config.yml", exclude: []string{"a", "404", "b c"}, source: "src", destination: "../out", cache: ".c",
			},
		},
		"TOML": {
			map[string]string{
				"_config.toml": "title = \"x\"\ndestination = 'public'\nexclude = [\"a\", 'b']\n[sass]\nsass_dir = \"s\"\n",
			},
			jekyllConfig{
				file: "_config.toml", exclude: []string{"a", "b"}, source: ".", destination: "public", cache: ".jekyll-cache",
			},
		},
		"an empty list": {
			map[string]string{"_config.yaml": "exclude: []\ndestination:\n"},
			jekyllConfig{file: "_config.yaml", exclude: []string{}, source: ".", destination: "_site", cache: ".jekyll-cache"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, "project", "site")
			p.write(c.files)
			config, err := readJekyllConfig(p.settings.SiteDir)
			if c.expected.source == "" {
				require.ErrorContains(t, err, "cannot read site/_config.yml: yaml: unknown anchor 'x' referenced")
				return
			}
			require.NoError(t, err)
			config.unfiltered = nil
			require.Equal(t, c.expected, config)
		})
	}
}

func TestSiteWithASourceDirectoryIsBuilt(t *testing.T) {
	testtool.Path(t, "jekyll")
	p := newProject(t, "blog/docs/infra", "../..")
	p.write(map[string]string{
		"_config.yml": "source: docs\ndestination: docs/out\n", "docs/index.html": frontMatter + "front",
		"docs/_headers":       "/*\n  X-A: b\n",
		"docs/out/stale.html": "an earlier build's", "docs/infra/readme.md": frontMatter + "the program",
	})
	p.addSpecialFiles("docs/deep")
	require.Equal(t, map[string]string{"index.html": "front", "_headers": "/*\n  X-A: b\n"}, p.built())
}

func TestALockFileThatBundlerWritesDoesNotChangeTheHash(t *testing.T) {
	testtool.Path(t, "jekyll")
	testtool.Path(t, "bundle")
	p := newProject(t, "project", "site")
	p.write(map[string]string{"Gemfile": "gem 'jekyll'\n", "index.html": frontMatter + "front"})
	hash := p.hash()
	require.Equal(t, map[string]string{"index.html": "front"}, p.built())
	require.FileExists(t, "site/Gemfile.lock")
	require.NoDirExists(t, ".build/gems", "the machine already has them")
	require.Equal(t, hash, p.hash())
}
