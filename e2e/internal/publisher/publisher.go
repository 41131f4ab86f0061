// Package publisher runs the real program that builds and uploads the site.
package publisher

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/s3server"
)

// Project is a directory in which the program runs, with a site whose build copies its files.
type Project struct {
	// Dir is the project's directory, and Site the site's directory.
	Dir, Site string
	Bucket    string
	// Environment is the program's environment in addition to its settings.
	Environment []string
	// Command is the command that builds the site.
	Command string
	// Inherited are open files that the program inherits.
	Inherited []*os.File

	program string
}

// New builds the program from the checkout at root and creates an empty project for a server's bucket.
func New(t *testing.T, root string, server *s3server.Server, bucket string) *Project {
	t.Helper()
	dir := t.TempDir()
	p := &Project{
		Dir: dir, Site: filepath.Join(dir, "site"), Bucket: bucket,
		Command:     `mkdir ../built && cp -r . ../built && mv ../built _site`,
		Environment: append(server.Environment(), "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME")),
		program:     filepath.Join(dir, "publish"),
	}
	require.NoError(t, os.Mkdir(p.Site, 0o755))
	build := exec.Command("go", "build", "-o", p.program, "./publish/cmd")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "build the program: %s", output)
	return p
}

func (p *Project) Write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(p.Site, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// Run runs a verb of the program and returns its standard output and how long it took.
func (p *Project) Run(t *testing.T, verb string) (string, time.Duration, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), p.program, verb)
	command.Dir = p.Dir
	command.Env = append([]string{
		"SITE_DIR=site", "WORK_DIR=.build", "STACK=test", "SOURCE_HASH=0123", "JEKYLL_ENV=production",
		"BUILD_COMMAND=" + p.Command,
		"BUCKET=" + p.Bucket, "REGION=" + s3server.Region,
	}, p.Environment...)
	command.ExtraFiles = p.Inherited
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	begin := time.Now()
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("publish %s: %w: %s", verb, err, stderr.String())
	}
	return stdout.String(), time.Since(begin), err
}
