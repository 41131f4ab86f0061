package server

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// provisionedServer runs the script provision with stand-ins for a server's programs, which record their calls and
// succeed.
type provisionedServer struct {
	*testing.T
	bundle, programs, calls string
}

func newProvisionedServer(t *testing.T) *provisionedServer {
	t.Helper()
	s := &provisionedServer{T: t, bundle: t.TempDir(), programs: t.TempDir(), calls: filepath.Join(t.TempDir(), "calls")}
	script, err := files.ReadFile("files/provision")
	require.NoError(t, err)
	testtool.WriteProgram(t, filepath.Join(s.bundle, "provision"), string(script))
	for _, name := range []string{
		"cloud-init", "install", "chgrp", "chmod", "systemctl", "journalctl", "systemd-run", "docker", "agent",
	} {
		s.install(name, "")
	}
	return s
}

// install creates a stand-in that also runs a script.
func (s *provisionedServer) install(name, script string) {
	s.Helper()
	text := "#!/bin/bash\necho \"" + name + " $*\" >>" + s.calls + "\n" + script + "\n"
	testtool.WriteProgram(s, filepath.Join(s.programs, name), text)
}

// provision runs the script and returns its output, the recorded calls, and its error.
func (s *provisionedServer) provision(args ...string) (output string, calls []string, err error) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(s.bundle, "provision"), args...)
	command.WaitDelay = time.Second
	command.Env = append(os.Environ(), "PATH="+s.programs+":"+os.Getenv("PATH"))
	text, err := command.CombinedOutput()
	recorded, readErr := os.ReadFile(s.calls)
	if readErr != nil {
		require.ErrorIs(s, readErr, os.ErrNotExist)
	}
	return string(text), strings.Split(strings.TrimSpace(string(recorded)), "\n"), err
}

func TestProvisioningEndsWhenTheAgentReportsReady(t *testing.T) {
	s := newProvisionedServer(t)
	s.install("agent",
		`case "$1" in restore) echo restored ;; ready) echo '   0.1 s  containers  ok' >&2; echo 'ready: server i-1' ;; esac`)
	output, calls, err := s.provision("870")
	require.NoError(t, err, output)
	require.Equal(t,
		"agent\ncertificates and monitoring history\nrestored\ncontainers\nreadiness\n   0.1 s  containers  ok\nready: "+
			"server i-1\n", output)

	last := calls[len(calls)-1]
	seconds, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(last, "agent ready --wait "), "s"))
	require.NoError(t, err, last)
	require.Greater(t, seconds, 800, "the agent gets the remaining time")
	require.LessOrEqual(t, seconds, 870)
	started := slices.Index(calls, "docker compose --progress plain up --detach")
	require.Positive(t, started)
	require.Greater(t, slices.Index(calls, "systemctl enable --quiet --now traefik-drain.service"), started,
		"the unit starts a container that must exist")
	require.Contains(t, calls,
		"systemctl enable --quiet --now admission.service agent-pull.timer agent-backup.timer agent-watch.service "+
			"agent-report.path bootstrap-remove.path prometheus-pause.path prometheus-resume.path web-reload.path "+
			"server-metrics.timer security-updates.timer access-log.timer")
	require.NotContains(t, strings.Join(calls, "\n"), "unclaimed.timer",
		"the timer must end the bootstrap login until the server holds the VIP")
}

func TestOutputHasTheReasonForAFailedProvisioning(t *testing.T) {
	for name, test := range map[string]struct {
		program, script string
		says            []string
	}{
		"cloud-init failed": {
			"cloud-init",
			`case "$*" in "status --wait") exit 1 ;; "status --long") echo "status: error"; echo "no package docker.io"; exit 1 ;; esac`,
			[]string{"no package docker.io", "cloud-init failed: see the lines above", "The server now repeats its first boot"},
		},
		"the site cannot be downloaded": {
			"systemctl", `[ "$*" != "start agent-pull.service" ]`,
			[]string{"cannot download the site from the content bucket"},
		},
		"an image does not build": {
			"docker", `case "$*" in *build*) echo "COPY nginx.conf: not found" >&2; exit 17 ;; esac`,
			[]string{"COPY nginx.conf: not found", "cannot build an image: see the lines above"},
		},
		"containers do not start": {
			"docker", `case "$*" in *up*) echo "port is already allocated" >&2; exit 1 ;; esac`,
			[]string{"port is already allocated", "cannot start the containers: see the lines above"},
		},
		"an image cannot be pulled": {
			"docker", `case "$*" in *pull\ --ignore*) echo "traefik: manifest unknown" >&2; exit 18 ;; esac`,
			[]string{"traefik: manifest unknown", "cannot pull an image: see the lines above"},
		},
		"the backup cannot be restored": {
			"agent", `[ "$1" != restore ] || { echo "restore: access denied" >&2; exit 1; }`,
			[]string{"restore: access denied", "cannot restore the data of the previous server"},
		},
		"not ready": {
			"agent", `[ "$1" != ready ] || { echo "not ready: server i-1"; exit 1; }`,
			[]string{"not ready: server i-1", "s of provisioning: see its report above"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newProvisionedServer(t)
			s.install(test.program, test.script)
			output, _, err := s.provision("870")
			require.Error(t, err)
			for _, says := range test.says {
				require.Contains(t, output, says)
			}
		})
	}
}

func TestTraefikFindsItsCertificatesWhenItStarts(t *testing.T) {
	s := newProvisionedServer(t)
	output, calls, err := s.provision("870")
	require.NoError(t, err, output)
	restored := slices.Index(calls, "agent restore --metrics /srv/metrics/restore.prom")
	require.Positive(t, restored)
	require.Greater(t, slices.Index(calls, "docker compose --progress plain up --detach"), restored)

	require.Contains(t, calls, "install -d -m 0700 -o site-agent -g site-agent /srv/traefik/acme /srv/traefik/log")
	require.Contains(t, calls, "install -m 0644 traefik/site.yaml /srv/traefik/dynamic/site.yaml")
	require.Contains(t, calls,
		"install -m 0644 -o site-agent -g site-agent traefik/states/waiting.yaml /srv/traefik/dynamic/state.yaml")
}

func TestComposeReadsTheServersEnvironment(t *testing.T) {
	s := newProvisionedServer(t)
	output, _, err := s.provision("870")
	require.NoError(t, err, output)
	target, err := os.Readlink(filepath.Join(s.bundle, ".env"))
	require.NoError(t, err)
	require.Equal(t, "/etc/immutable-infra/server.env", target)
}

func TestFailedBootIsRepeated(t *testing.T) {
	s := newProvisionedServer(t)
	s.install("cloud-init", `[ "$1" != status ]`)
	_, calls, err := s.provision("870")
	require.Error(t, err)
	require.Equal(t, []string{
		"cloud-init status --wait", "cloud-init status --long", "cloud-init clean",
		"systemd-run --quiet --on-active=5s systemctl reboot",
	}, calls)
}

func TestWaitForTheBootIsBounded(t *testing.T) {
	s := newProvisionedServer(t)
	s.install("cloud-init", `case "$*" in "status --wait") exec sleep 60 ;; *) echo "status: running"; exit 1 ;; esac`)
	output, calls, err := s.provision("1")
	require.Error(t, err)
	require.Equal(t, "status: running\ncloud-init did not finish in time: see the lines above for its progress\n", output)
	require.Equal(t, []string{"cloud-init status --wait", "cloud-init status --long"}, calls)
}

func TestProvisioningWithoutATimeLimitIsRefused(t *testing.T) {
	output, _, err := newProvisionedServer(t).provision()
	require.Error(t, err)
	require.Contains(t, output, "usage: provision SECONDS")
}
