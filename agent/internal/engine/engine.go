// Package engine asks Docker's engine by its API. The docker command would start three programs for each question.
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
	// Socket is where the engine of a server listens.
	Socket = "/run/docker.sock"
	// answerTimeout bounds one request. maxAnswer is how many bytes of an answer are read, maxQuoted how many are quoted.
	answerTimeout = 10 * time.Second
	maxAnswer     = 1 << 20
	maxQuoted     = 200

	serviceLabel = "com.docker.compose.service"
	dirLabel     = "com.docker.compose.project.working_dir"
	oneOffLabel  = "com.docker.compose.oneoff"
)

// statusError is an answer with another status than 200.
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
	// State is Docker's word: created, running, paused, restarting, removing, exited or dead.
	State string
	// Status is Docker's sentence, such as "Restarting (1) 3 seconds ago".
	Status string
	// Health is starting, healthy or unhealthy, and empty when the container does not run or has no health check.
	Health   string
	ExitCode int
	// Restarts is how often the engine has restarted the container.
	Restarts int
}

// Engine is the engine at a socket.
type Engine struct {
	socket, services *http.Client
}

// New returns the engine at the path of a Unix socket.
func New(socket string) Engine {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	// A connection to a service would stay open until the next question.
	return Engine{
		socket:   &http.Client{Timeout: answerTimeout, Transport: &http.Transport{DialContext: dial}},
		services: &http.Client{Timeout: answerTimeout, Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// Containers returns the containers of the services of the compose project in a directory, those that do not run
// included. Containers of docker compose run are left out.
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

// list returns the containers of a project, and of one of its services if that is not "".
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
	if err := e.ask(ctx, "/containers/json?"+query.Encode(), &found); err != nil {
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
	if err := e.ask(ctx, "/containers/"+listed.ID+"/json", &detail); err != nil {
		return Container{}, fmt.Errorf("cannot inspect container %s: %w", listed.ID, err)
	}
	c := Container{
		Service: listed.Labels[serviceLabel], State: detail.State.Status, Status: listed.Status,
		ExitCode: detail.State.ExitCode, Restarts: detail.RestartCount,
	}
	if len(detail.Name) > 0 {
		c.Name = detail.Name[1:] // which begins with a slash
	}
	if c.State == "running" && detail.State.Health != nil && detail.State.Health.Status != "none" {
		c.Health = detail.State.Health.Status
	}
	return c, nil
}

// ask decodes the engine's answer into a value.
func (e Engine) ask(ctx context.Context, path string, into any) error {
	answer, err := get(ctx, e.socket, "http://docker"+path)
	if err != nil {
		return fmt.Errorf("cannot ask Docker: %w", err)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("cannot read the answer of Docker: %w", err)
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
		// Without the URL, whose query is encoded.
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err
		}
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode != http.StatusOK:
		text := bytes.TrimSpace(body)
		return nil, statusError{response.StatusCode, string(text[:min(len(text), maxQuoted)])}
	}
	return body, nil
}
