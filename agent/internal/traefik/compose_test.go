package traefik

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// docker puts a program that notes its calls, and then does what the script says,
// in Docker's place. It returns the project and the calls so far.
func docker(t *testing.T, script string) (compose Compose, calls func() []string) {
	t.Helper()
	programs, project := t.TempDir(), t.TempDir()
	noted := filepath.Join(project, "calls")
	text := "#!/bin/sh\necho \"$*\" >>calls\n" + script + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(programs, "docker"), []byte(text), 0o755))
	t.Setenv("PATH", programs+":"+os.Getenv("PATH"))
	return Compose{Project: project}, func() []string {
		text, err := os.ReadFile(noted)
		require.NoError(t, err)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
}

func TestTraefikServesAgainWhenItWasRestarted(t *testing.T) {
	compose, calls := docker(t, `case "$*" in *" ps "*) echo 5b3f6d6a1c2e ;; esac`)
	require.NoError(t, compose.Restart(t.Context()))
	require.Equal(t, []string{
		"compose --progress plain ps --status running --quiet traefik",
		"compose --progress plain restart --no-deps traefik",
		"compose --progress plain up --detach --no-deps --no-recreate --wait --wait-timeout 30 traefik",
	}, calls())
}

func TestATraefikThatDoesNotRunIsNotStarted(t *testing.T) {
	compose, calls := docker(t, "")
	require.NoError(t, compose.Restart(t.Context()))
	require.Len(t, calls(), 1)
}

func TestATraefikThatDoesNotComeBackIsAnErrorWithDockersWords(t *testing.T) {
	compose, _ := docker(t, `case "$*" in *" ps "*) echo 5b3f6d6a1c2e ;; *" up "*) echo "container site-traefik-1 is unhealthy" >&2; exit 1 ;; esac`)
	require.EqualError(t, compose.Restart(t.Context()), "wait until Traefik is healthy again: "+
		"docker compose --progress plain up --detach --no-deps --no-recreate --wait --wait-timeout 30 traefik: exit status 1: container site-traefik-1 is unhealthy")
}

func TestARestartThatIsCalledOffEnds(t *testing.T) {
	compose, _ := docker(t, `exec sleep 60`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, compose.Restart(ctx), context.Canceled)
}
