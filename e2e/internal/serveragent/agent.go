// Package serveragent runs the real agent on this machine, like a server.
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

// Bucket is the name of the backup bucket, and Stack that of the stack.
const (
	Bucket = "backup"
	Stack  = "bench"
)

// holderKey is the record of the server that holds the VIP.
const holderKey = "handover/holder.json"

// asServer gives a command another server's name, in namespaces of its own: the instance id, if
// this machine is in EC2, and the host name.
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

// Store is the S3 server of the bucket.
type Store interface {
	Environment() []string
	Put(t *testing.T, bucket, key, content string)
}

// Program is the built agent.
type Program struct {
	// Path is that of the executable.
	Path string
}

// Build builds the agent of the checkout at root.
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
	// Prometheus is the directory that Prometheus' data directory is in.
	Prometheus string

	program Program
	store   Store
	dir     string
}

// Server creates a server, whose bucket is in a store. Its own file says that it holds the VIP.
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
	// Prometheus is no container here: no container runs.
	require.NoError(t, os.WriteFile(s.path("bin", "docker"), []byte("#!/bin/sh\n"), 0o755))
	return s
}

func (s *Server) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

func (s *Server) Data() string { return filepath.Join(s.Prometheus, "data") }

// TakeVIP records in the bucket that this server holds the VIP, like `agent watch`.
func (s *Server) TakeVIP(t *testing.T) {
	t.Helper()
	s.store.Put(t, Bucket, holderKey, fmt.Sprintf(`{"server":%q,"since":"2026-01-01T00:00:00Z"}`, s.Name))
}

// Done is the result of a run of the agent.
type Done struct {
	// Took is that of the whole process.
	Took   time.Duration
	Stdout string
	Stderr string
	// Err is that of the process.
	Err error
}

func (d Done) String() string { return fmt.Sprintf("%v\n%s\n%s", d.Err, d.Stdout, d.Stderr) }

// run runs a verb of the agent with these flags.
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

// paths are the flags of the verbs that write on a server.
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

// Restore runs `agent restore`, before the server has the VIP.
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
	// Fallbacks is how many newer backups were unusable.
	Fallbacks int `json:"fallbacks"`
}

// Verify runs `agent verify`, which restores into an empty directory like a new server. Prometheus'
// data directory is in dir then.
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

// Metric is a metric that the last run wrote.
func (s *Server) Metric(name string) (float64, error) {
	text, err := os.ReadFile(s.metrics())
	if err != nil {
		return 0, fmt.Errorf("read the agent's metrics: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, errors.New("the agent's metrics do not have " + name)
}
