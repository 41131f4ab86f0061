// Package serveragent runs the real agent on this machine as on a server.
package serveragent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Bucket is the name of the backup bucket, and Stack the name of the stack.
const (
	Bucket = "backup"
	Stack  = "bench"
)

// holderKey is the key of the record of the server that holds the VIP.
const holderKey = "handover/holder.json"

// asServer runs a command under another server's name in its own namespaces: it sets the host name and, if this
// machine is an EC2 instance, the instance id.
const asServer = `
set -e
server=$1
id=/var/lib/cloud/data/instance-id
shift
if [ -e "$id" ]; then
  printf '%s\n' "$server" >name
  mount --bind name "$id"
fi
hostname "$server"
exec "$@"
`

// Store is the S3 server with the bucket.
type Store interface {
	Environment() []string
	Put(t *testing.T, bucket, key, content string)
}

// Program is the built agent.
type Program struct {
	// Path is the executable's path.
	Path string
}

// Build builds the agent from the checkout at root.
func Build(t *testing.T, root string) Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = filepath.Join(root, "agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, "build the agent: %s", output)
	return Program{Path: path}
}

// Server is a server from the agent's point of view.
type Server struct {
	Name string
	// Prometheus is the parent of Prometheus' data directory.
	Prometheus string

	program Program
	store   Store
	dir     string
}

// Server creates a server whose bucket is in a store. Its local holder file marks it as holding the VIP.
func (p Program) Server(t *testing.T, store Store, name string) *Server {
	t.Helper()
	s := &Server{Name: name, program: p, store: store, dir: t.TempDir()}
	s.Prometheus = filepath.Join(s.dir, "prometheus")
	for _, dir := range []string{s.Prometheus, s.path("traefik"), s.path("bin"), s.path("project")} {
		require.NoError(t, os.MkdirAll(dir, 0o755))
	}
	require.NoError(t, os.WriteFile(s.path("holder"), nil, 0o644))
	settings := []string{
		"BACKUP_BUCKET=" + Bucket, "STACK=" + Stack, "BACKUP_RETENTION=24h", "VIP=198.51.100.7",
		"SITE_NAMES=example.org", "ACME_DIRECTORY=https://acme.example.org/directory",
	}
	require.NoError(t, os.WriteFile(s.path("server.env"), []byte(strings.Join(settings, "\n")+"\n"), 0o644))
	// This fake docker lists no containers: Prometheus does not run in one here.
	require.NoError(t, os.WriteFile(s.path("bin", "docker"), []byte("#!/bin/sh\n"), 0o755))
	return s
}

func (s *Server) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

func (s *Server) Data() string { return filepath.Join(s.Prometheus, "data") }

// TakeVIP records in the bucket that this server holds the VIP, as `agent watch` does.
func (s *Server) TakeVIP(t *testing.T) {
	t.Helper()
	s.store.Put(t, Bucket, holderKey, fmt.Sprintf(`{"server":%q,"since":"2026-01-01T00:00:00Z"}`, s.Name))
}

// Done is the result of a run of the agent.
type Done struct {
	// Took is how long the whole process ran.
	Took   time.Duration
	Stdout string
	Stderr string
	// Err is the process's error.
	Err error
}

func (d Done) String() string { return fmt.Sprintf("%v\n%s\n%s", d.Err, d.Stdout, d.Stderr) }

// run runs a verb of the agent with flags.
func (s *Server) run(ctx context.Context, verb string, flags ...string) Done {
	arguments := []string{"--uts", "--mount"}
	if os.Geteuid() != 0 {
		arguments = append(arguments, "--user", "--map-root-user")
	}
	arguments = append(arguments, "sh", "-c", asServer, "sh", s.Name, s.program.Path, verb,
		"--env-file", s.path("server.env"))
	command := exec.CommandContext(ctx, "unshare", append(arguments, flags...)...)
	command.Dir = s.dir
	command.Env = append(append(os.Environ(), s.store.Environment()...), "PATH="+s.path("bin")+":"+os.Getenv("PATH"))
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	begin := time.Now()
	err := command.Run()
	return Done{Took: time.Since(begin), Stdout: stdout.String(), Stderr: stderr.String(), Err: err}
}

// paths returns the flags of the verbs that write files on a server.
func (s *Server) paths() []string {
	return []string{
		"--acme-ca", s.path("none"),
		"--traefik", s.path("traefik"), "--prometheus", s.Prometheus, "--history-state", s.path("history.json"), "--metrics",
		s.metrics(),
	}
}

func (s *Server) metrics() string { return s.path("agent.prom") }

// Backup runs `agent backup`.
func (s *Server) Backup(ctx context.Context) Done {
	return s.run(ctx, "backup", append(s.paths(), "--holder-file", s.path("holder"))...)
}

// Restore runs `agent restore`, as before the server holds the VIP.
func (s *Server) Restore(ctx context.Context) Done {
	return s.run(ctx, "restore", append(s.paths(), "--holder-file", s.path("none"), "--project", s.path("project"))...)
}

// Verified is the report of `agent verify`.
type Verified struct {
	Found    bool    `json:"found"`
	Server   string  `json:"server"`
	Epoch    uint64  `json:"epoch"`
	Sequence uint64  `json:"sequence"`
	Age      float64 `json:"ageSeconds"`
	Bytes    int64   `json:"bytes"`
	Fetched  int64   `json:"fetched"`
	Blocks   int     `json:"blocks"`
	Seconds  float64 `json:"seconds"`
	// Fallbacks is the number of newer backups, which were unusable.
	Fallbacks int `json:"fallbacks"`
}

// Verify runs `agent verify`, which restores into an empty directory as on a new server. Afterwards, dir contains
// Prometheus' data directory.
func (s *Server) Verify(ctx context.Context, dir string) (Verified, Done, error) {
	done := s.run(ctx, "verify", "--dir", dir)
	if done.Err != nil {
		return Verified{}, done, fmt.Errorf("agent verify: %s", done)
	}
	var verified Verified
	if err := json.Unmarshal([]byte(done.Stdout), &verified); err != nil {
		return Verified{}, done, fmt.Errorf("agent verify: %w: %s", err, done)
	}
	return verified, done, nil
}

// Metric returns the value of a metric that the last run wrote.
func (s *Server) Metric(name string) (float64, error) {
	text, err := os.ReadFile(s.metrics())
	if err != nil {
		return 0, fmt.Errorf("cannot read the agent's metrics: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, errors.New("the agent's metrics do not include " + name)
}
