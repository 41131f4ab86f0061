// Package enginetest provides a fake of Docker's engine for tests.
package enginetest

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Engine is a fake engine with some containers.
type Engine struct {
	// Socket is the path of its socket.
	Socket string

	mu         sync.Mutex
	containers []Container
}

// Container is a container of the engine.
type Container struct {
	ID, Service, State, Status, Health string
	// Dir is the directory of its compose project. OneOff marks a container of docker compose run.
	Dir                string
	OneOff             bool
	ExitCode, Restarts int
	// Address is its address in a network, or "" if it is not running.
	Address string
	// Removed makes inspecting the container fail, as if it was removed after it was listed.
	Removed bool
}

// Start starts an engine with containers, until the test ends.
func Start(t *testing.T, containers ...Container) *Engine {
	t.Helper()
	e := &Engine{Socket: filepath.Join(t.TempDir(), "docker.sock"), containers: containers}
	listener, err := net.Listen("unix", e.Socket)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containers/json", e.list)
	mux.HandleFunc("GET /containers/{id}/json", e.inspect)
	server := httptest.NewUnstartedServer(mux)
	require.NoError(t, server.Listener.Close())
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return e
}

// Set replaces the containers.
func (e *Engine) Set(containers ...Container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.containers = containers
}

func (e *Engine) list(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var filters struct{ Label []string }
	if err := json.Unmarshal([]byte(r.URL.Query().Get("filters")), &filters); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	entries := []map[string]any{}
	for _, c := range e.containers {
		labels := map[string]string{
			"com.docker.compose.service": c.Service, "com.docker.compose.project.working_dir": c.Dir,
			"com.docker.compose.oneoff": map[bool]string{false: "False", true: "True"}[c.OneOff],
		}
		hidden := c.State != "running" && r.URL.Query().Get("all") != "true"
		for _, filter := range filters.Label {
			name, value, _ := strings.Cut(filter, "=")
			hidden = hidden || labels[name] != value
		}
		if !hidden {
			networks := map[string]any{"site_site": map[string]string{"IPAddress": c.Address}}
			entries = append(entries, map[string]any{
				"Id": c.ID, "Names": []string{"/" + c.ID}, "State": c.State, "Status": c.Status, "Labels": labels,
				"NetworkSettings": map[string]any{"Networks": networks},
			})
		}
	}
	_ = json.NewEncoder(w).Encode(entries)
}

func (e *Engine) inspect(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.containers {
		if c.ID != r.PathValue("id") || c.Removed {
			continue
		}
		state := map[string]any{"Status": c.State, "ExitCode": c.ExitCode}
		if c.Health != "" {
			state["Health"] = map[string]string{"Status": c.Health}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Name": "/" + c.ID, "RestartCount": c.Restarts, "State": state})
		return
	}
	http.Error(w, `{"message":"No such container: `+r.PathValue("id")+`"}`, http.StatusNotFound)
}
