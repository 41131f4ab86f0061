package components

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// site is a site's directory in which the scripts run, with a command in place
// of Jekyll and a stand-in for rclone that writes its calls down.
type site struct {
	dir, manifest, calls string
}

func newSite(t *testing.T) site {
	t.Helper()
	root := t.TempDir()
	s := site{dir: filepath.Join(root, "site"), manifest: filepath.Join(root, "work", "SHA256SUMS"), calls: filepath.Join(root, "calls")}
	require.NoError(t, os.Mkdir(s.dir, 0o755))
	bin := filepath.Join(root, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "rclone"), fmt.Appendf(nil, "#!/bin/sh\necho \"$1\" >>%s\n", s.calls), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	return s
}

func (s site) run(t *testing.T, script, buildCommand string) (stdout, stderr string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-c", script)
	command.Dir = s.dir
	command.Env = append(os.Environ(), "BUILD_COMMAND="+buildCommand, "JEKYLL_ENV=production", "MANIFEST="+s.manifest,
		"BUCKET=content", "REGION=eu-central-1", "BUILD="+buildScript)
	var out, errors strings.Builder
	command.Stdout, command.Stderr = &out, &errors
	err = command.Run()
	return out.String(), errors.String(), err
}

func (s site) uploads(t *testing.T) string {
	t.Helper()
	calls, err := os.ReadFile(s.calls)
	if os.IsNotExist(err) {
		return ""
	}
	require.NoError(t, err)
	return string(calls)
}

const goodBuild = `mkdir -p _site/a && printf page >_site/index.html && printf "é" >"_site/a/a file.txt" && echo built`

func TestABuildIsNamedByTheHashOfItsFiles(t *testing.T) {
	s := newSite(t)
	stdout, stderr, err := s.run(t, buildScript, goodBuild)
	require.NoError(t, err, stderr)
	list, err := os.ReadFile(s.manifest)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x  ./a/a file.txt\n%x  ./index.html\n", sha256.Sum256([]byte("é")), sha256.Sum256([]byte("page"))), string(list))
	require.Equal(t, fmt.Sprintf("%x\n", sha256.Sum256(list))[:16]+"\n", stdout, "the release alone is on stdout")
	require.Contains(t, stderr, "built")
}

func TestWhatAnEarlierBuildLeftIsNotPartOfTheNext(t *testing.T) {
	s := newSite(t)
	first, _, err := s.run(t, buildScript, goodBuild)
	require.NoError(t, err)
	_, _, err = s.run(t, buildScript, goodBuild+" && touch _site/more")
	require.NoError(t, err)
	again, _, err := s.run(t, buildScript, goodBuild)
	require.NoError(t, err)
	require.Equal(t, first, again)
}

func TestABuildThatFailsOrIsEmptyHasNoRelease(t *testing.T) {
	for name, test := range map[string]struct{ command, message string }{
		"fails":           {"echo 'Liquid Exception: no endif' >&2; exit 1", "Liquid Exception: no endif"},
		"fails in a pipe": {"set -o pipefail; false | cat", ""},
		"makes nothing":   {"true", "left no _site/index.html"},
		"empty index":     {"mkdir _site && touch _site/index.html", "nothing is uploaded"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			stdout, stderr, err := s.run(t, buildScript, test.command)
			require.Error(t, err)
			require.Empty(t, stdout)
			require.Contains(t, stderr, test.message)
			require.NoFileExists(t, s.manifest)
		})
	}
}

func TestJekyllRunsByBundlerWhereThereIsAGemfile(t *testing.T) {
	s := newSite(t)
	bin := filepath.Dir(s.calls) + "/bin/"
	for _, name := range []string{"jekyll", "bundle"} {
		require.NoError(t, os.WriteFile(bin+name, []byte("#!/bin/sh\nmkdir -p _site && echo \"$(basename \"$0\") $*\" >_site/index.html\n"), 0o755))
	}
	built := func() string {
		_, stderr, err := s.run(t, buildScript, "")
		require.NoError(t, err, stderr)
		content, err := os.ReadFile(filepath.Join(s.dir, "_site", "index.html"))
		require.NoError(t, err)
		return string(content)
	}
	require.Equal(t, "jekyll build --future\n", built())
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "Gemfile"), nil, 0o644))
	require.Equal(t, "bundle exec jekyll build --future\n", built())
}

func TestTheListIsUploadedAfterTheFiles(t *testing.T) {
	s := newSite(t)
	release, _, err := s.run(t, buildScript, goodBuild)
	require.NoError(t, err)
	synced, stderr, err := s.run(t, syncScript, "exit 1")
	require.NoError(t, err, "the build that is there is used: %s", stderr)
	require.Equal(t, release, synced)
	require.Equal(t, "sync\ncopyto\n", s.uploads(t))
}

func TestASyncOnANewCheckoutBuildsFirst(t *testing.T) {
	s := newSite(t)
	built, _, err := s.run(t, buildScript, goodBuild)
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "_site")))
	synced, stderr, err := s.run(t, syncScript, goodBuild)
	require.NoError(t, err, stderr)
	require.Equal(t, built, synced)
}

func TestASyncWithoutAGoodBuildUploadsNothing(t *testing.T) {
	s := newSite(t)
	_, _, err := s.run(t, syncScript, "exit 1")
	require.Error(t, err)
	require.Empty(t, s.uploads(t))
}
