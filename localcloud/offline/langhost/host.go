// Package langhost is the plugin that runs Pulumi programs written in Go. It
// stands in for pulumi-language-go where that binary cannot be had, and does
// what deploying needs of it: it generates no code and installs no packages.
package langhost

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	// version is that of the Pulumi release whose language host this one follows.
	version = "3.250.0"
	// engineProbe is how often the host checks that its engine is there.
	engineProbe = time.Minute
)

// Serve runs the language host until ctx ends, the engine interrupts it, or the
// engine is gone. args are the command line without the program's name: the
// engine's address, after flags that only old engines set. The port is printed
// on standard output.
func Serve(ctx context.Context, args []string) error {
	if err := serve(ctx, args, engineProbe); err != nil {
		return fmt.Errorf("serve the language host: %w", err)
	}
	return nil
}

func serve(ctx context.Context, args []string, probe time.Duration) error {
	engineAddress, err := parseArgs(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if engineAddress != "" {
		// A killed engine says no goodbye.
		if err := rpcutil.Healthcheck(ctx, engineAddress, probe, stop); err != nil {
			return err
		}
	}
	cancel := make(chan bool)
	context.AfterFunc(ctx, func() { close(cancel) })
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: cancel,
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, newHost(engineAddress, os.Stdout, os.Stderr))
			return nil
		},
		Options: rpcutil.TracingServerInterceptorOptions(nil),
	})
	if err != nil {
		return err
	}
	fmt.Println(handle.Port)
	return <-handle.Done
}

// parseArgs returns the engine's address, empty where a handshake brings it.
func parseArgs(args []string) (string, error) {
	flags := flag.NewFlagSet("pulumi-language-go", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, ignored := range []string{"tracing", "binary", "buildTarget", "root"} {
		flags.String(ignored, "", "accepted from old engines, and ignored")
	}
	err := flags.Parse(args)
	return flags.Arg(0), err
}

// host is the LanguageRuntime service. What it does not implement, such as generating code, answers
// Unimplemented. The engine takes that of GetRequiredPackages for none: it learns of each plugin when
// the program registers the first resource of its package. go build fetches what the program imports.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	// stdout and stderr are the program's; the engine shows them.
	stdout, stderr io.Writer
	// cancelled ends when the engine cancels what is under way.
	cancelled context.Context
	cancel    context.CancelFunc

	engineAddress atomic.Pointer[string]
}

func newHost(engineAddress string, stdout, stderr io.Writer) *host {
	h := &host{stdout: stdout, stderr: stderr}
	h.engineAddress.Store(&engineAddress)
	h.cancelled, h.cancel = context.WithCancel(context.Background())
	return h
}

// Handshake takes the engine's address where the command line had none.
func (h *host) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	if req.GetEngineAddress() == "" {
		return nil, errors.New("the handshake lacks the engine's address")
	}
	h.engineAddress.Store(&req.EngineAddress)
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

// GetPluginInfo returns the version.
func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

// About says which Go builds the program.
func (h *host) About(ctx context.Context, _ *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	goVersion, err := exec.CommandContext(ctx, "go", "version").Output()
	if err != nil {
		return nil, fmt.Errorf("find the Go compiler: %w", err)
	}
	return &pulumirpc.AboutResponse{Executable: "go", Version: strings.TrimSpace(string(goVersion))}, nil
}

// Cancel ends the build or the program that runs.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.cancel()
	return &emptypb.Empty{}, nil
}
