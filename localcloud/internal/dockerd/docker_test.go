package dockerd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

// fixedOutput is a Runner that always returns the same output or error.
type fixedOutput struct {
	output string
	err    error
}

func (f fixedOutput) Run(_ context.Context, command run.Command) ([]byte, error) {
	if f.err != nil {
		return nil, &run.Error{Command: command, Output: f.output, Err: f.err}
	}
	return []byte(f.output), nil
}

func TestMemoryIsReturnedInBytes(t *testing.T) {
	docker := Docker{Runner: fixedOutput{output: "abc\t245.5MiB / 1GiB\ndef\t512B / 2GiB\n"}}
	used, err := docker.Memory(t.Context(), "abc", "def")
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"abc": 257425408, "def": 512}, used)
}

func TestMissingContainerIsDistinguishedFromEngineFailure(t *testing.T) {
	docker := Docker{Runner: fixedOutput{output: "Error: No such container: web", err: errors.New("exit status 1")}}
	_, err := docker.Inspect(t.Context(), "web")
	require.ErrorIs(t, err, ErrNoContainer)
	require.NoError(t, docker.Remove(t.Context(), "web"))

	docker = Docker{
		Runner: fixedOutput{output: "Error response from daemon: device busy", err: errors.New("exit status 1")},
	}
	_, err = docker.Inspect(t.Context(), "web")
	require.NotErrorIs(t, err, ErrNoContainer)
	require.ErrorContains(t, docker.Remove(t.Context(), "web"), "device busy")
}

func TestSocketPathFitsForDeepProjects(t *testing.T) {
	deep := New(state.Home("/"+strings.Repeat("deep/", 30)+".localcloud"), nil)
	require.Less(t, len(strings.TrimPrefix(deep.host(), "unix://")), maxSocketPath)
	other := New(state.Home("/"+strings.Repeat("deep/", 31)+".localcloud"), nil)
	require.NotEqual(t, deep.host(), other.host(), "projects do not share an engine")
}

func TestMissingEngineReturnsErrNotRunning(t *testing.T) {
	t.Setenv("DOCKER_HOST", "")
	_, _, err := New(state.Home(t.TempDir()),
		fixedOutput{output: "Cannot connect", err: errors.New("exit status 1")}).Find(t.Context())
	require.ErrorIs(t, err, ErrNotRunning)
	require.ErrorContains(t, err, "Cannot connect")
}
