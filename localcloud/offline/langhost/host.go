package langhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

// version is that of the Pulumi release whose language host this one follows.
const version = "3.250.0"

// host is the LanguageRuntime service. What it does not implement, such as
// generating code, answers Unimplemented.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	// stdout and stderr are the program's; the engine shows them.
	stdout, stderr io.Writer
	// cancelled ends when the engine cancels what is under way.
	cancelled context.Context
	cancel    context.CancelFunc

	mutex         sync.Mutex
	engineAddress string
}

func newHost(engineAddress string, stdout, stderr io.Writer) *host {
	cancelled, cancel := context.WithCancel(context.Background())
	return &host{
		stdout: stdout, stderr: stderr, cancelled: cancelled, cancel: cancel, engineAddress: engineAddress,
	}
}

// Handshake takes the engine's address where the command line had none.
func (h *host) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	if req.GetEngineAddress() == "" {
		return nil, errors.New("the handshake lacks the engine's address")
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.engineAddress = req.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo tells the version.
func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

// GetRequiredPackages names none: the engine learns of each plugin when the
// program registers the first resource of its package.
func (h *host) GetRequiredPackages(
	context.Context, *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

// GetRequiredPlugins names none, as GetRequiredPackages.
func (h *host) GetRequiredPlugins(
	context.Context, *pulumirpc.GetRequiredPluginsRequest,
) (*pulumirpc.GetRequiredPluginsResponse, error) {
	return &pulumirpc.GetRequiredPluginsResponse{}, nil
}

// InstallDependencies does nothing: go build fetches what the program imports.
func (h *host) InstallDependencies(
	*pulumirpc.InstallDependenciesRequest, pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	return nil
}

// RuntimeOptionsPrompts asks nothing.
func (h *host) RuntimeOptionsPrompts(
	context.Context, *pulumirpc.RuntimeOptionsRequest,
) (*pulumirpc.RuntimeOptionsResponse, error) {
	return &pulumirpc.RuntimeOptionsResponse{}, nil
}

// About tells which Go builds the program.
func (h *host) About(ctx context.Context, _ *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return nil, fmt.Errorf("find the Go compiler: %w", err)
	}
	goVersion, err := exec.CommandContext(ctx, compiler, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", compiler, err)
	}
	return &pulumirpc.AboutResponse{Executable: compiler, Version: strings.TrimSpace(string(goVersion))}, nil
}

// Cancel ends the build or the program that runs.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.cancel()
	return &emptypb.Empty{}, nil
}

// Run builds the program and runs it. The response's error is what the user
// reads: the compiler's output, or the program's exit status. It bails where
// the program has told the engine its error itself.
func (h *host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.cancelled, cancel)()

	h.mutex.Lock()
	engineAddress := h.engineAddress
	h.mutex.Unlock()
	if engineAddress == "" {
		return nil, errors.New("run before a handshake: the engine's address is unknown")
	}
	environment, err := environment(req, engineAddress)
	if err != nil {
		return nil, err
	}
	started, err := h.start(ctx, req, environment)
	if err == nil {
		err = started.Wait()
	}
	return response(err), nil
}
