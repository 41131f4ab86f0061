package engine

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/engine/enginetest"
)

const dir = "/opt/site"

func TestContainersOfTheProjectAreFoundWithTheirStates(t *testing.T) {
	docker := enginetest.Start(t,
		enginetest.Container{
			ID: "site-web-1", Service: "web", Dir: dir, State: "running", Status: "Up 2 hours (healthy)", Health: "healthy",
			Restarts: 3,
		},
		enginetest.Container{ID: "site-php-1", Service: "php", Dir: dir, State: "exited", ExitCode: 137, Health: "unhealthy"},
		enginetest.Container{ID: "site-web-run-1", Service: "web", Dir: dir, State: "running", OneOff: true},
		enginetest.Container{ID: "other-web-1", Service: "web", Dir: "/home/admin", State: "running"},
		enginetest.Container{ID: "site-mail-1", Service: "mail", Dir: dir, State: "removing", Removed: true},
	)
	found, err := New(docker.Socket).Containers(t.Context(), dir)
	require.NoError(t, err)
	require.Equal(t, []Container{
		{Name: "site-php-1", Service: "php", State: "exited", ExitCode: 137},
		{
			Name: "site-web-1", Service: "web", State: "running", Status: "Up 2 hours (healthy)", Health: "healthy",
			Restarts: 3,
		},
	}, found)
}

func TestServiceIsRequestedAtAddressOfItsContainer(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RequestURI() != "/query?a=b" {
			http.Error(w, "no such page", http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte("answer"))
	}))
	t.Cleanup(service.Close)
	address := service.Listener.Addr().(*net.TCPAddr)
	docker := enginetest.Start(t,
		enginetest.Container{ID: "site-mail-1", Service: "mail", Dir: dir, State: "running", Address: "192.0.2.1"},
		enginetest.Container{ID: "site-web-1", Service: "web", Dir: dir, State: "running", Address: address.IP.String()})
	engine := New(docker.Socket)
	answer, err := engine.Get(t.Context(), dir, "web", address.Port, "/query?a=b")
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	_, err = engine.Get(t.Context(), dir, "web", address.Port, "/other")
	require.EqualError(t, err, "502 Bad Gateway: no such page")

	docker.Set(enginetest.Container{ID: "site-web-1", Service: "web", Dir: dir, State: "exited"})
	_, err = engine.Get(t.Context(), dir, "web", address.Port, "/query?a=b")
	require.EqualError(t, err, "service web is not running")
}

func TestUnreachableOrInvalidEngineIsAnError(t *testing.T) {
	_, err := New(filepath.Join(t.TempDir(), "docker.sock")).Containers(t.Context(), dir)
	require.ErrorContains(t, err, "cannot list the containers: cannot query Docker: dial unix ")

	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("NAME  IMAGE\n")) })}}
	server.Start()
	t.Cleanup(server.Close)
	_, err = New(socket).Containers(t.Context(), dir)
	require.EqualError(t, err, "cannot list the containers: cannot parse the response of Docker: "+
		"invalid character 'N' looking for beginning of value")
}
