// Package engine queries Docker's engine through its API. The docker command would start three programs for each
// query.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const (
	// Socket is the path of the engine's socket on a server.
	Socket = "/run/docker.sock"
	// requestTimeout bounds one request. maxResponse is how many bytes of a response are read, and maxQuoted how
	// many of them an error quotes.
	requestTimeout = 10 * time.Second
	maxResponse    = 1 << 20
	maxQuoted      = 200

	serviceLabel = "com.docker.compose.service"
	dirLabel     = "com.docker.compose.project.working_dir"
	oneOffLabel  = "com.docker.compose.oneoff"
)

// statusError is a response with a status other than 200.
type statusError struct {
	code int
	text string
}

func (e statusError) Error() string {
	return fmt.Sprintf("%d %s: %s", e.code, http.StatusText(e.code), e.text)
}

// Container is a container of a compose project.
type Container struct {
	Name    string
	Service string
	// State is the state in Docker's terms: created, running, paused, restarting, removing, exited or dead.
	State string
	// Status is Docker's description of the state, such as "Restarting (1) 3 seconds ago".
	Status string
	// Health is starting, healthy or unhealthy, or "" if the container is not running or has no health check.
	Health   string
	ExitCode int
	// Restarts is how often the engine has restarted the container.
	Restarts int
}

// Engine is a client of the engine that listens on a socket.
type Engine struct {
	socket, services *http.Client
}

// New returns a client of the engine that listens on the Unix socket at this path.
func New(socket string) Engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	// Without keep-alives, because a connection to a service would stay open until the next request.
	return Engine{
		socket:   &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DialContext: dial}},
		services: &http.Client{Timeout: requestTimeout, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// Containers returns the containers of the services of the compose project in a directory, including those that
// are not running. It omits containers of docker compose run.
func (e Engine) Containers(ctx context.Context, dir string) ([]Container, error) {
	found, err := e.list(ctx, dir, "")
	if err != nil {
		return nil, err
	}
	var containers []Container
	for _, entry := range found {
		next, err := e.inspect(ctx, entry)
		if failed, ok := errors.AsType[statusError](err); ok && failed.code == http.StatusNotFound {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		containers = append(containers, next)
	}
	return containers, nil
}

// Get requests a path of a service at the address of its container. It fails unless the status is 200.
func (e Engine) Get(ctx context.Context, dir, service string, port int, path string) ([]byte, error) {
	found, err := e.list(ctx, dir, service)
	if err != nil {
		return nil, err
	}
	for _, entry := range found {
		for _, network := range entry.NetworkSettings.Networks {
			if network.IPAddress != "" {
				host := net.JoinHostPort(network.IPAddress, strconv.Itoa(port))
				return get(ctx, e.services, "http://"+host+path)
			}
		}
	}
	return nil, fmt.Errorf("service %s is not running", service)
}

// entry is a container in the engine's list.
type entry struct {
	ID              string
	Names           []string
	State, Status   string
	Labels          map[string]string
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

// list returns the containers of a project, or of one of its services if service is not "".
func (e Engine) list(ctx context.Context, dir, service string) ([]entry, error) {
	labels := []string{dirLabel + "=" + dir, oneOffLabel + "=False"}
	if service != "" {
		labels = append(labels, serviceLabel+"="+service)
	}
	filters, err := json.Marshal(map[string][]string{"label": labels})
	if err != nil {
		return nil, fmt.Errorf("cannot encode the filters of containers: %w", err)
	}
	query := url.Values{"all": {"true"}, "filters": {string(filters)}}
	var found []entry
	if err := e.query(ctx, "/containers/json?"+query.Encode(), &found); err != nil {
		return nil, fmt.Errorf("cannot list the containers: %w", err)
	}
	slices.SortFunc(found, func(a, b entry) int { return slices.Compare(a.Names, b.Names) })
	return found, nil
}

func (e Engine) inspect(ctx context.Context, listed entry) (Container, error) {
	var detail struct {
		Name         string
		RestartCount int
		State        struct {
			Status   string
			ExitCode int
			Health   *struct{ Status string }
		}
	}
	if err := e.query(ctx, "/containers/"+listed.ID+"/json", &detail); err != nil {
		return Container{}, fmt.Errorf("cannot inspect container %s: %w", listed.ID, err)
	}
	c := Container{
		Service: listed.Labels[serviceLabel], State: detail.State.Status, Status: listed.Status,
		ExitCode: detail.State.ExitCode, Restarts: detail.RestartCount,
	}
	if len(detail.Name) > 0 {
		c.Name = detail.Name[1:] // without the leading slash
	}
	if c.State == "running" && detail.State.Health != nil && detail.State.Health.Status != "none" {
		c.Health = detail.State.Health.Status
	}
	return c, nil
}

// query requests a path of the API and decodes the response into a value.
func (e Engine) query(ctx context.Context, path string, into any) error {
	body, err := get(ctx, e.socket, "http://docker"+path)
	if err != nil {
		return fmt.Errorf("cannot query Docker: %w", err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("cannot parse the response of Docker: %w", err)
	}
	return nil
}

func get(ctx context.Context, client *http.Client, target string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		// Omit the URL, whose query is encoded.
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK:
		text := bytes.TrimSpace(body)
		return nil, statusError{response.StatusCode, string(text[:min(len(text), maxQuoted)])}
	}
	return body, nil
}
