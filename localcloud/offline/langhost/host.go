// Package langhost is the plugin that runs Pulumi programs written in Go. It stands in for pulumi-language-go if that
// binary is not available, and implements only what a deployment needs: it generates no code and installs no packages.
package langhost

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"immutable-infra/localcloud/internal/state"
)

const (
	version        = "3.250.0"   // the Pulumi release whose language host this one follows
	healthInterval = time.Minute // between two health checks of the engine
)

// Serve runs the language host until ctx is done, the engine interrupts it, or the engine is gone. args is the
// command line without the program's name: the engine's address, after flags that only old engines set. Serve prints
// its port on standard output.
func Serve(ctx context.Context, args []string) error {
	if err := serve(ctx, args, healthInterval); err != nil {
		return fmt.Errorf("cannot serve the language host: %w", err)
	}
	return nil
}

func serve(ctx context.Context, args []string, interval time.Duration) error {
	engineAddress, err := parseArgs(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if engineAddress != "" {
		// A killed engine cannot interrupt the host.
		if err := rpcutil.Healthcheck(ctx, engineAddress, interval, stop); err != nil {
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

// parseArgs returns the engine's address, or "" if a handshake will provide it.
func parseArgs(args []string) (string, error) {
	flags := flag.NewFlagSet("pulumi-language-go", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, ignored := range []string{"tracing", "binary", "buildTarget", "root"} {
		flags.String(ignored, "", "accepted from old engines and ignored")
	}
	err := flags.Parse(args)
	return flags.Arg(0), err
}

// host implements the LanguageRuntime service. Methods that it lacks, such as those for code generation, return
// Unimplemented. The engine treats Unimplemented from GetRequiredPackages as an empty list: it loads each plugin when
// the program registers the first resource of its package.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	// stdout and stderr receive the program's output, which the engine shows.
	stdout, stderr io.Writer
	canceled       context.Context // done when the engine cancels the operation
	cancel         context.CancelFunc

	engineAddress atomic.Pointer[string]
}

func newHost(engineAddress string, stdout, stderr io.Writer) *host {
	h := &host{stdout: stdout, stderr: stderr}
	h.engineAddress.Store(&engineAddress)
	h.canceled, h.cancel = context.WithCancel(context.Background())
	return h
}

// Handshake sets the engine's address.
func (h *host) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	if req.GetEngineAddress() == "" {
		return nil, errors.New("the engine's address is missing from the handshake")
	}
	h.engineAddress.Store(&req.EngineAddress)
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

// InstallDependencies does nothing, because go build downloads the program's modules. If the method were
// unimplemented, `pulumi install` would crash.
func (h *host) InstallDependencies(
	*pulumirpc.InstallDependenciesRequest, pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	return nil
}

// About returns the version of Go that builds the program.
func (h *host) About(ctx context.Context, _ *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	goVersion, err := exec.CommandContext(ctx, "go", "version").Output()
	if err != nil {
		return nil, fmt.Errorf("cannot find the Go compiler: %w", err)
	}
	return &pulumirpc.AboutResponse{Executable: "go", Version: strings.TrimSpace(string(goVersion))}, nil
}

// Cancel kills the running build or program.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.cancel()
	return &emptypb.Empty{}, nil
}

// lockInterval is how often the host retries to lock an executable while another build of the same program runs.
const lockInterval = 50 * time.Millisecond

// Run builds the program and runs it. The response's error, which the user sees, is the compiler's output or the
// program's exit status. Bail means that the program itself has reported its error to the engine.
func (h *host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.canceled, cancel)()
	engineAddress := *h.engineAddress.Load()
	if engineAddress == "" {
		return nil, errors.New("cannot run the program before the handshake: the engine's address is unknown")
	}
	environment, err := environment(req, engineAddress)
	if err != nil {
		return nil, err
	}
	cmd, err := h.start(ctx, req, environment)
	if err == nil {
		err = cmd.Wait()
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case exited && exit.ExitCode() == constant.ExitStatusLoggedError:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case exited:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("program failed: %s", exit)}, nil
	}
	return &pulumirpc.RunResponse{Error: err.Error()}, nil
}

// environment returns the program's environment: that of this process, and the variables from which pulumi.Run in the
// Go SDK reads the stack, its configuration and the address of the engine.
func environment(req *pulumirpc.RunRequest, engineAddress string) ([]string, error) {
	config, err := json.Marshal(req.GetConfig())
	secretKeys, secretErr := json.Marshal(append([]string{}, req.GetConfigSecretKeys()...))
	if err := errors.Join(err, secretErr); err != nil {
		return nil, fmt.Errorf("cannot encode the stack's configuration: %w", err)
	}
	return append(os.Environ(),
		pulumi.EnvOrganization+"="+req.GetOrganization(),
		pulumi.EnvProject+"="+req.GetProject(),
		pulumi.EnvPulumiRootDirectory+"="+req.GetInfo().GetRootDirectory(),
		pulumi.EnvStack+"="+req.GetStack(),
		pulumi.EnvConfig+"="+string(config),
		pulumi.EnvConfigSecretKeys+"="+string(secretKeys),
		pulumi.EnvDryRun+"="+strconv.FormatBool(req.GetDryRun()),
		pulumi.EnvParallel+"="+strconv.Itoa(int(req.GetParallel())),
		pulumi.EnvMonitor+"="+req.GetMonitorAddress(),
		pulumi.EnvEngine+"="+engineAddress,
	), nil
}

// start builds and starts the program.
func (h *host) start(ctx context.Context, req *pulumirpc.RunRequest, environment []string) (*exec.Cmd, error) {
	if req.GetAttachDebugger() {
		return nil, errors.New("this language host does not support debuggers: run without --attach-debugger")
	}
	options := req.GetInfo().GetOptions().AsMap()
	for _, option := range []string{"binary", "buildTarget"} {
		if _, set := options[option]; set {
			return nil, fmt.Errorf("the runtime option %s in Pulumi.yaml is not supported: remove it", option)
		}
	}
	dir := req.GetInfo().GetProgramDirectory()
	program, unlock, err := executableFor(ctx, dir)
	if err == nil {
		defer unlock()
		err = build(ctx, dir, program)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot build the program in %s: %w", dir, err)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir, cmd.Env = req.GetPwd(), environment
	cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the program: %w", err)
	}
	return cmd, nil
}

// executableFor locks and returns the path for the executable of the program in dir. The file is kept, so that an
// unchanged program is not linked again. The caller must call unlock after it has started the program.
func executableFor(ctx context.Context, dir string) (executable string, unlock func(), err error) {
	home := state.Home(os.Getenv(state.Variable))
	if home == "" {
		return "", nil, errors.New(state.Variable + " is empty: set it to localcloud's home directory")
	}
	if err := os.MkdirAll(home.Programs(), 0o755); err != nil {
		return "", nil, err
	}
	hash := sha256.Sum256([]byte(dir))
	executable = filepath.Join(home.Programs(), hex.EncodeToString(hash[:8]))
	lock := flock.New(executable + ".lock")
	_, err = lock.TryLockContext(ctx, lockInterval)
	return executable, func() { lock.Close() }, err
}

// build compiles the package in dir. The error contains the compiler's output.
func build(ctx context.Context, dir, executable string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", executable, ".")
	cmd.Dir = dir
	// `make` builds everything else with the same setting, so that each package is compiled only once.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		// Not wrapped: the compiler's exit status is not the program's.
		return fmt.Errorf("go build: %s\n%s", errors.Join(err, ctx.Err()), output)
	}
	info, err := os.Stat(executable)
	if err == nil && info.Mode()&0o111 == 0 {
		err = errors.New("go build created no executable: the package there must be main")
	}
	return err
}
