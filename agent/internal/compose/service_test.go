package compose

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// docker replaces Docker by a program that records its calls, and then runs the script. It returns a service, and
// a function that returns the calls so far.
func docker(t *testing.T, name, script string) (service Service, calls func() []string) {
	t.Helper()
	programs, project := t.TempDir(), t.TempDir()
	noted := filepath.Join(project, "calls")
	text := "#!/bin/sh\necho \"$*\" >>calls\n" + script + "\n"
	testtool.WriteProgram(t, filepath.Join(programs, "docker"), text)
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	return Service{Project: project, Name: name}, func() []string {
		text, err := os.ReadFile(noted)
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func TestRestartWaitsUntilTraefikIsHealthy(t *testing.T) {
	traefik, calls := docker(t, "traefik", `case "$*" in *" ps "*) echo 5b3f6d6a1c2e ;; esac`)
	require.NoError(t, traefik.Restart(t.Context()))
	require.Equal(t, []string{
		"compose --progress plain ps --status running --quiet traefik",
		"compose --progress plain restart --no-deps traefik",
		"compose --progress plain up --detach --no-deps --no-recreate --wait --wait-timeout 60 traefik",
	}, calls())
}

func TestStoppedTraefikIsNotStarted(t *testing.T) {
	traefik, calls := docker(t, "traefik", "")
	require.NoError(t, traefik.Restart(t.Context()))
	require.Len(t, calls(), 1)
}

func TestStopAndStartWaitForPrometheus(t *testing.T) {
	prometheus, calls := docker(t, "prometheus", "")
	require.NoError(t, prometheus.Stop(t.Context()))
	require.NoError(t, prometheus.Start(t.Context()))
	require.Equal(t, []string{
		"compose --progress plain stop prometheus",
		"compose --progress plain up --detach --no-deps --no-recreate --wait --wait-timeout 60 prometheus",
	}, calls())
}

func TestErrorOfFailedStartQuotesDocker(t *testing.T) {
	traefik, _ := docker(t, "traefik",
		`case "$*" in *" ps "*) echo 5b3f6d6a1c2e ;; *" up "*) echo "container site-traefik-1 is unhealthy" >&2; exit 1 ;; esac`)
	require.EqualError(t, traefik.Restart(t.Context()), "cannot start traefik: "+
		"docker compose --progress plain up --detach --no-deps --no-recreate --wait --wait-timeout 60 traefik: exit status "+
		"1: container site-traefik-1 is unhealthy")
}

func TestErrorOfFailedStopQuotesDocker(t *testing.T) {
	prometheus, _ := docker(t, "prometheus", `echo "permission denied" >&2; exit 1`)
	require.EqualError(t, prometheus.Stop(t.Context()),
		"cannot stop prometheus: docker compose --progress plain stop prometheus: exit status 1: permission denied")
}

func TestCancelledRestartEnds(t *testing.T) {
	traefik, _ := docker(t, "traefik", `exec sleep 60`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, traefik.Restart(ctx), context.Canceled)
}
