// Package langhost is the plugin that runs Pulumi programs written in Go. It
// stands in for pulumi-language-go where that binary cannot be had, and does
// what deploying needs of it: it generates no code and installs no packages.
package langhost

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// engineLook is how often the host looks whether its engine is there.
const engineLook = time.Minute

// Serve runs the language host until ctx ends, the engine interrupts it, or the
// engine is gone. args are the command line without the program's name: the
// engine's address, after flags that only old engines set. The port is printed
// on standard output.
func Serve(ctx context.Context, args []string) error {
	return serve(ctx, args, engineLook)
}

func serve(ctx context.Context, args []string, look time.Duration) error {
	engineAddress, err := parseArgs(args)
	if err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if engineAddress != "" {
		// An engine that is killed tells nobody.
		if err := rpcutil.Healthcheck(ctx, engineAddress, look, stop); err != nil {
			return fmt.Errorf("watch the engine: %w", err)
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
		return fmt.Errorf("serve the language host: %w", err)
	}
	if _, err := fmt.Fprintln(os.Stdout, handle.Port); err != nil {
		return fmt.Errorf("tell the engine the port: %w", err)
	}
	if err := <-handle.Done; err != nil {
		return fmt.Errorf("serve the language host: %w", err)
	}
	return nil
}

// parseArgs returns the engine's address, empty where a handshake brings it.
func parseArgs(args []string) (string, error) {
	flags := flag.NewFlagSet("pulumi-language-go", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, ignored := range []string{"tracing", "binary", "buildTarget", "root"} {
		flags.String(ignored, "", "accepted from old engines, and ignored")
	}
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	return flags.Arg(0), nil
}
