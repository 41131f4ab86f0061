package server

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// updatingServer is a server on which apt-get and docker are scripts that record their calls.
type updatingServer struct {
	*testing.T
	root, programs string
}

func newUpdatingServer(t *testing.T) updatingServer {
	s := updatingServer{t, t.TempDir(), t.TempDir()}
	require.NoError(t, os.MkdirAll(filepath.Join(s.root, "srv", "metrics"), 0o755))
	s.program("apt-get", `case "$*" in
*" update") ;;
*Dir::State::status=/var/lib/dpkg/status*)
  echo 'Inst base-files [13.8] (13.8+deb13u1 Debian:13.2/stable [arm64])'
  echo 'Inst libssl3t64 [3.5.1-1] (3.5.1-1+deb13u1 Debian:13.2/stable, Debian-Security:13/stable-security [arm64])'
  echo 'Inst openssl [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [arm64])'
  echo 'Conf openssl (3.5.1-1+deb13u1 Debian-Security:13/stable-security [arm64])' ;;
*)
  for word; do case $word in Dir::State::status=*) grep '^Inst' "${word#Dir::State::status=}" || true ;; esac; done ;;
esac`)
	s.program("docker", `case "$1 $3" in
"ps "*) printf '%s\n' 'site/monitoring 2b' 'site/nginx 1a' 'site/monitoring 3c' 'traefik:v3 4d' ;;
"cp 1a:"*) echo 'Inst nginx-light [1] (2 Debian-Security:13/stable-security [arm64])' >"$4" ;;
"cp 2b:"*) : >"$4" ;;
*) echo "no such file" >&2; exit 1 ;;
esac`)
	return s
}

func (s updatingServer) program(name, script string) {
	s.Helper()
	text := "#!/bin/bash\necho \"" + name + " $*\" >>" + s.programs + "/calls\n" + script + "\n"
	testtool.WriteProgram(s, filepath.Join(s.programs, name), text)
}

func (s updatingServer) count() (output string, err error) {
	s.Helper()
	command := exec.CommandContext(s.Context(), "/bin/bash", "files/metrics/updates", s.root)
	command.Env = append(os.Environ(), "PATH="+s.programs+":"+os.Getenv("PATH"))
	text, err := command.CombinedOutput()
	return string(text), err
}

func (s updatingServer) metrics() string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.root, "srv", "metrics", "updates.prom"))
	require.NoError(s, err)
	return string(text)
}

func TestSecurityUpdatesOfTheServerAndOfEachImageOfDebianAreCounted(t *testing.T) {
	s := newUpdatingServer(t)
	output, err := s.count()
	require.NoError(t, err, output)
	text := s.metrics()
	require.Equal(t, []string{
		`server_security_updates{of="server"} 2`,
		`server_security_updates{of="site/monitoring"} 0`,
		`server_security_updates{of="site/nginx"} 1`,
	}, regexp.MustCompile(`(?m)^server_security_updates\{.*$`).FindAllString(text, -1))
	require.Regexp(t, `(?m)^server_security_updates_checked_timestamp_seconds \d{10}$`, text)
	if promtool, err := exec.LookPath("promtool"); err == nil {
		command := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		command.Stdin = strings.NewReader(text)
		output, err := command.CombinedOutput()
		require.NoError(t, err, string(output))
	}
}

func TestCountingSecurityUpdatesChangesNoPackageAndNoListOfTheServers(t *testing.T) {
	s := newUpdatingServer(t)
	output, err := s.count()
	require.NoError(t, err, output)
	calls, err := os.ReadFile(filepath.Join(s.programs, "calls"))
	require.NoError(t, err)
	for call := range strings.Lines(string(calls)) {
		if !strings.HasPrefix(call, "apt-get ") {
			continue
		}
		require.Contains(t, call, "-o Dir::State::lists="+s.root+"/var/lib/security-updates/lists ", call)
		require.Regexp(t, `( update|--simulate dist-upgrade)\n$`, call)
	}
}

func TestSecurityUpdatesThatCannotBeCountedAreNotReportedAsNone(t *testing.T) {
	for name, broken := range map[string]func(updatingServer){
		"no mirror":      func(s updatingServer) { s.program("apt-get", `case "$*" in *update) exit 100 ;; esac`) },
		"no simulation":  func(s updatingServer) { s.program("apt-get", `case "$*" in *dist-upgrade) exit 100 ;; esac`) },
		"no containers":  func(s updatingServer) { s.program("docker", "exit 1") },
		"no list at all": func(s updatingServer) { s.program("apt-get", "exit 100") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newUpdatingServer(t)
			output, err := s.count()
			require.NoError(t, err, output)
			before := s.metrics()
			s.T = t
			broken(s)
			_, err = s.count()
			require.Error(t, err)
			require.Equal(t, before, s.metrics())
		})
	}
}
