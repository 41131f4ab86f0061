// Package langhost is the plugin that runs Pulumi programs written in Go. It
// stands in for pulumi-language-go where that binary is not available, and does
// what deploying needs of it: it generates no code and installs no packages.
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
	version     = "3.250.0"   // of the Pulumi release whose language host this one follows
	engineProbe = time.Minute // how often the host checks that its engine is there
)

// Serve runs the language host until ctx ends, the engine interrupts it, or the engine is gone.
// args are the command line without the program's name: the engine's address, after flags that only
// old engines set. The port is printed on standard output.
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

// host is the LanguageRuntime service. Methods that it lacks, such as those that generate code, answer
// Unimplemented. The engine takes that of GetRequiredPackages for none: it learns of each plugin when
// the program registers the first resource of its package.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	// stdout and stderr are the program's; the engine shows them.
	stdout, stderr io.Writer
	cancelled      context.Context // ends when the engine cancels what is under way
	cancel         context.CancelFunc

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

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

// InstallDependencies does nothing: go build fetches what the program imports. Without an answer
// `pulumi install` crashes.
func (h *host) InstallDependencies(
	*pulumirpc.InstallDependenciesRequest, pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	return nil
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

// lockInterval is how often the host asks whether another build of the same program has ended.
const lockInterval = 50 * time.Millisecond

// Run builds the program and runs it. The response's error is what the user
// reads: the compiler's output, or the program's exit status. It bails where
// the program has told the engine its error itself.
func (h *host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.cancelled, cancel)()
	engineAddress := *h.engineAddress.Load()
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

// environment is how the program learns of the stack, its configuration and the engine: this
// process's environment and the variables that pulumi.Run of the Go SDK reads.
func environment(req *pulumirpc.RunRequest, engineAddress string) ([]string, error) {
	config, err := json.Marshal(req.GetConfig())
	secret, secretErr := json.Marshal(append([]string{}, req.GetConfigSecretKeys()...))
	if err := errors.Join(err, secretErr); err != nil {
		return nil, fmt.Errorf("encode the stack's configuration: %w", err)
	}
	return append(os.Environ(),
		pulumi.EnvOrganization+"="+req.GetOrganization(),
		pulumi.EnvProject+"="+req.GetProject(),
		pulumi.EnvPulumiRootDirectory+"="+req.GetInfo().GetRootDirectory(),
		pulumi.EnvStack+"="+req.GetStack(),
		pulumi.EnvConfig+"="+string(config),
		pulumi.EnvConfigSecretKeys+"="+string(secret),
		pulumi.EnvDryRun+"="+strconv.FormatBool(req.GetDryRun()),
		pulumi.EnvParallel+"="+strconv.Itoa(int(req.GetParallel())),
		pulumi.EnvMonitor+"="+req.GetMonitorAddress(),
		pulumi.EnvEngine+"="+engineAddress,
	), nil
}

// start builds and starts the program.
func (h *host) start(ctx context.Context, req *pulumirpc.RunRequest, environment []string) (*exec.Cmd, error) {
	if req.GetAttachDebugger() {
		return nil, errors.New("this language host attaches no debugger: run without --attach-debugger")
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
		return nil, fmt.Errorf("build the program in %s: %w", dir, err)
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Dir, cmd.Env = req.GetPwd(), environment
	cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	return cmd, nil
}

// executableFor is where the executable of dir goes, and stays: an unchanged program need not be linked again. It is
// the caller's alone until unlock, to be called once it runs.
func executableFor(ctx context.Context, dir string) (executable string, unlock func(), err error) {
	home := state.Home(os.Getenv(state.Variable))
	if home == "" {
		return "", nil, errors.New(state.Variable + " is empty: it names localcloud's home")
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

// build compiles the package in dir. Its error holds the compiler's output.
func build(ctx context.Context, dir, executable string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", executable, ".")
	cmd.Dir = dir
	// As `make` builds everything else, so that each package is compiled once.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		// Not wrapped: the compiler's exit status is not the program's.
		return fmt.Errorf("go build: %s\n%s", errors.Join(err, ctx.Err()), output)
	}
	info, err := os.Stat(executable)
	if err == nil && info.Mode()&0o111 == 0 {
		err = errors.New("go build made no executable: the package there must be main")
	}
	return err
}
