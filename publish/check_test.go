package publish

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/server/manifest"
	"immutable-infra/server/rules"
)

// copyAll is a build command that copies the whole source.
const copyAll = `mkdir ../copy; cp -r . ../copy; mv ../copy _site`

const pointer = "version https://git-lfs.github.com/spec/v1\noid " +
	"sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"

func TestBuildThatNoServerAcceptsIsRejected(t *testing.T) {
	deep := strings.Repeat(strings.Repeat("d", 99)+"/", 11) + "f.html"
	for name, c := range map[string]struct {
		files   map[string]string
		message string
	}{
		"a release's marker": {
			map[string]string{".well-known/release": "{}"},
			`servers answer at /.well-known/release themselves; remove ".well-known/release"`,
		},
		"a page in its place": {
			map[string]string{".well-known/release/index.html": "{}"},
			`servers answer at /.well-known/release themselves; remove ".well-known/release/index.html"`,
		},
		"a server's marker": {
			map[string]string{".well-known/server": "{}"}, `servers answer at /.well-known/server themselves; remove`,
		},
		"a challenge": {
			map[string]string{".well-known/acme-challenge/a": "a"},
			`servers answer at /.well-known/acme-challenge themselves; remove`,
		},
		"a backslash": {
			map[string]string{`back\slash.txt`: "a"}, `path "back\\slash.txt" contains a backslash: rename the file`,
		},
		"a control character": {
			map[string]string{"a\tb.txt": "a"}, `path "a\tb.txt" contains a control character: rename the file`,
		},
		"not UTF-8":             {map[string]string{"caf\xe9.html": "a"}, `path "caf\xe9.html" is not a plain path`},
		"a path of 1,106 bytes": {map[string]string{deep: "a"}, `is longer than 1019 bytes`},
		"a pointer of Git LFS": {
			map[string]string{"images/cat.jpg": pointer},
			`"images/cat.jpg" is a pointer of Git LFS instead of the file; run git lfs pull`,
		},
		"several": {
			map[string]string{`b\a.txt`: "a", `b\b.txt`: "a"},
			"cannot publish the built site:\n  path \"b\\\\a.txt\" contains a backslash: rename the file\n  path \"b\\\\b.txt\"",
		},
		"an empty front page":        {map[string]string{"index.html": ""}, "index.html is empty"},
		"only a front page in a dir": {map[string]string{"blog/index.html": "a"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject(t, "project", "site")
			p.write(map[string]string{"index.html": "front"})
			p.write(c.files)
			p.settings.Command = copyAll
			_, err := p.build()
			if c.message == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.message)
			for file := range c.files {
				require.Contains(t, err.Error(), strings.Trim(fmt.Sprintf("%.30q", file), `"`))
			}
			require.NoFileExists(t, p.settings.manifestFile())
		})
	}
}

func TestNamesThatDifferInCaseOrUnicodeFormAreDifferentFiles(t *testing.T) {
	names := []string{
		"caf\u00e9.html", "cafe\u0301.html", "A.html", "a.html", "q?.html", "100%.html", "a b.html", "ａ．html", "dots...",
		"%41.html", "+.html", "\U0001f600", "\ufffe",
	}
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front"})
	for _, name := range names {
		p.write(map[string]string{name: name})
	}
	p.settings.Command = copyAll
	files := p.built()
	for _, name := range names {
		require.Equal(t, name, files[name])
	}
}

func TestSeveralLargeFilesAreRefusedWithTheLimit(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front"})
	// Sparse files, which take no space on the disk.
	fakeTools(t, map[string]string{
		"jekyll": `while [ "$1" != --destination ]; do shift; done; cp index.html "$2"; mkdir "$2/videos"; truncate --size 2300M "$2"/videos/{a,b}.mp4`,
	})
	_, err := p.build()
	require.ErrorContains(t, err,
		"the site has 4600.0 MiB: servers accept 4096.0 MiB; the largest files are videos/a.mp4 (2300.0 MiB), videos/b.mp4 "+
			"(2300.0 MiB), index.html")

	// The limits are arguments, so a few files are enough.
	problems := overLimits(make([]builtFile, 4), manifest.Limits{Files: 3})
	require.Equal(t, []string{"the site has 4 files: servers accept 3"}, problems)
}

func TestTextAboutGitLFSIsNotAPointer(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{
		"index.html": "front",
		"lfs.txt":    "version https://git-lfs.github.com/spec/v1\nis what a pointer begins with.\n",
		"long.txt":   pointer + strings.Repeat("x", 1024),
	})
	p.settings.Command = copyAll
	require.Len(t, p.built(), 3)
}

func TestManifestDescribesTheCopyOfTheBuild(t *testing.T) {
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "page", "a/a file.txt": "é"})
	p.settings.Command = copyAll
	list, err := p.build()
	require.NoError(t, err)
	text, err := os.ReadFile(p.settings.manifestFile())
	require.NoError(t, err)
	require.Equal(t, string(list.Text()), string(text))
	digest, _, err := manifest.DigestFile(filepath.Join(".build", "test", "site", "a", "a file.txt"))
	require.NoError(t, err)
	require.Contains(t, string(text), digest.String()+"  ./a/a file.txt\n")
}

func TestRulesThatCannotBeReadFailTheBuild(t *testing.T) {
	const wrong = "/a /b 999\n"
	_, err := rules.Parse(nil, []byte(wrong))
	require.Error(t, err)
	p := newProject(t, "project", "site")
	p.write(map[string]string{"index.html": "front", "_redirects": wrong, `b\a.txt`: "a"})
	p.settings.Command = copyAll
	_, err = p.build()
	require.ErrorContains(t, err, "_redirects")
	require.ErrorContains(t, err, "999")
	require.ErrorContains(t, err, "contains a backslash", "all problems are in one error")

	require.NoError(t, os.Remove(`site/b\a.txt`))
	p.write(map[string]string{"_redirects": "/index.html /b\n"})
	p.built()
	require.Contains(t, p.log.String(), "warning: ")
}
