package publish

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/server/manifest"
)

// project is a project directory, with a site in it or around it. Tests run in this directory.
type project struct {
	t        *testing.T
	settings Settings
	log      bytes.Buffer
}

// newProject creates a project directory at a path below a temporary directory, and the site's directory relative to
// it.
func newProject(t *testing.T, path, siteDir string) *project {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	dir := filepath.Join(root, path)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	t.Chdir(dir)
	require.NoError(t, os.MkdirAll(siteDir, 0o755))
	p := &project{t: t, settings: Settings{SiteDir: siteDir, WorkDir: ".build", Stack: "test", JekyllEnv: "production"}}
	p.settings.Log = &p.log
	return p
}

// write writes files of the site, by their paths in the site's directory.
func (p *project) write(files map[string]string) {
	p.t.Helper()
	for name, content := range files {
		path := filepath.Join(p.settings.SiteDir, name)
		require.NoError(p.t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(p.t, os.WriteFile(path, []byte(content), 0o644))
	}
}

func (p *project) hash() string {
	p.t.Helper()
	hash, err := SiteHash(p.settings.SiteDir, p.settings.WorkDir)
	require.NoError(p.t, err)
	return hash
}

// build builds the site, with a timeout in case the build hangs.
func (p *project) build() (manifest.Manifest, error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	p.log.Reset()
	return Build(ctx, p.settings)
}

// built builds the site and returns the contents of its files by path.
func (p *project) built() map[string]string {
	p.t.Helper()
	list, err := p.build()
	require.NoError(p.t, err, p.log.String())
	files := map[string]string{}
	for name := range list.Files() {
		content, err := os.ReadFile(filepath.Join(p.settings.siteCopy(), name))
		require.NoError(p.t, err)
		files[name] = string(content)
	}
	return files
}

// fakeTools puts scripts before the machine's programs in PATH.
func fakeTools(t *testing.T, scripts map[string]string) {
	t.Helper()
	bin := t.TempDir()
	for name, script := range scripts {
		testtool.WriteProgram(t, filepath.Join(bin, name), "#!/bin/bash\n"+script)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

// addSpecialFiles creates special files in a directory of the site, and files that editors and desktops leave behind.
func (p *project) addSpecialFiles(dir string) {
	p.t.Helper()
	dir = filepath.Join(p.settings.SiteDir, dir)
	require.NoError(p.t, os.MkdirAll(dir, 0o755))
	require.NoError(p.t, syscall.Mkfifo(filepath.Join(dir, "pipe.html"), 0o644))
	require.NoError(p.t, syscall.Mkfifo(filepath.Join(dir, "päge [1]*.é"), 0o644))
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	require.NoError(p.t, err)
	defer syscall.Close(socket)
	// The path of a socket is limited to 108 bytes.
	name := filepath.Join(os.TempDir(), filepath.Base(p.t.TempDir())+filepath.Base(filepath.Dir(dir)))
	require.NoError(p.t, syscall.Bind(socket, &syscall.SockaddrUnix{Name: name}))
	require.NoError(p.t, os.Rename(name, filepath.Join(dir, "socket.html")))
	for link, target := range map[string]string{
		".#index.html": "me@machine.1234:567", "gone.html": "nowhere", "loop": ".", "around": "..", "self": "self",
		"null.html": "/dev/null", "everything": "/",
	} {
		require.NoError(p.t, os.Symlink(target, filepath.Join(dir, link)))
	}
	for _, junk := range []string{".DS_Store", "Thumbs.db", "index.html~", "#index.html#", ".index.html.swp", "x.swp"} {
		require.NoError(p.t, os.WriteFile(filepath.Join(dir, junk), []byte("junk"), 0o644))
	}
}

const frontMatter = "---\n---\n"

func lines(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
