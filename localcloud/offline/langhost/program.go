package langhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// environment is how the program learns of the stack, its configuration and
// the engine: this process's environment and the variables that pulumi.Run of
// the Go SDK reads.
func environment(req *pulumirpc.RunRequest, engineAddress string) ([]string, error) {
	config, err := json.Marshal(req.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("encode the stack's configuration: %w", err)
	}
	secretKeys := req.GetConfigSecretKeys()
	if secretKeys == nil {
		secretKeys = []string{}
	}
	secret, err := json.Marshal(secretKeys)
	if err != nil {
		return nil, fmt.Errorf("encode the names of the secret configuration: %w", err)
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

// start starts the program: the one that the runtime option binary names, or
// else one built from the program's directory.
func (h *host) start(ctx context.Context, req *pulumirpc.RunRequest, environment []string) (*exec.Cmd, error) {
	if req.GetAttachDebugger() {
		return nil, errors.New("this language host attaches no debugger: run without --attach-debugger")
	}
	run := func(executable string) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, executable)
		cmd.Dir, cmd.Env = req.GetPwd(), environment
		cmd.Stdout, cmd.Stderr = h.stdout, h.stderr
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("start the program: %w", err)
		}
		return cmd, nil
	}

	binary, err := binaryOption(req)
	if err != nil {
		return nil, err
	}
	if binary != "" {
		return run(binary)
	}
	return buildAndStart(ctx, req.GetInfo().GetProgramDirectory(), run)
}

// binaryOption is the executable that the runtime option binary of Pulumi.yaml
// names, empty where it is unset: a path relative to the program's working
// directory, or a name on PATH.
func binaryOption(req *pulumirpc.RunRequest) (string, error) {
	options := req.GetInfo().GetOptions().AsMap()
	if _, set := options["buildTarget"]; set {
		return "", errors.New("the runtime option buildTarget in Pulumi.yaml is not supported: remove it")
	}
	option, set := options["binary"]
	if !set {
		return "", nil
	}
	binary, isString := option.(string)
	if !isString || binary == "" {
		return "", fmt.Errorf("the runtime option binary in Pulumi.yaml is %v: write a path", option)
	}
	if !filepath.IsAbs(binary) {
		local := filepath.Join(req.GetPwd(), binary)
		if _, err := os.Stat(local); err == nil {
			return local, nil
		}
	}
	found, err := exec.LookPath(binary)
	if err != nil {
		return "", fmt.Errorf("the runtime option binary in Pulumi.yaml: %w", err)
	}
	return found, nil
}

// response tells the engine how the program ended.
func response(err error) *pulumirpc.RunResponse {
	if err == nil {
		return &pulumirpc.RunResponse{}
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return &pulumirpc.RunResponse{Error: err.Error()}
	}
	if exit.ExitCode() == constant.ExitStatusLoggedError {
		return &pulumirpc.RunResponse{Bail: true}
	}
	return &pulumirpc.RunResponse{Error: fmt.Sprintf("program failed: %s", exit)}
}
