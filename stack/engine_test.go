package stack

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gopkg.in/yaml.v3"
)

// engine is a Pulumi engine of a given version. Without a version, it does not implement the request.
type engine struct {
	pulumirpc.UnimplementedEngineServer
	version string
}

func (e engine) RequirePulumiVersion(
	_ context.Context, request *pulumirpc.RequirePulumiVersionRequest,
) (*pulumirpc.RequirePulumiVersionResponse, error) {
	if e.version == "" {
		return nil, status.Error(codes.Unimplemented, "method RequirePulumiVersion not implemented")
	}
	if err := plugin.ValidatePulumiVersionRange(request.GetPulumiVersionRange(), e.version); err != nil {
		return nil, err
	}
	return &pulumirpc.RequirePulumiVersionResponse{}, nil
}

// requirePulumi runs RequirePulumi against an engine of a given version.
func requirePulumi(t *testing.T, version string) error {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	pulumirpc.RegisterEngineServer(server, engine{version: version})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	ctx, err := pulumi.NewContext(t.Context(),
		pulumi.RunInfo{Project: "immutable-infra", Stack: "production", EngineAddr: listener.Addr().String()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ctx.Close()) })
	return RequirePulumi(ctx)
}

func TestErrorOfOldPulumiNamesTheMinimumVersion(t *testing.T) {
	for version, message := range map[string]string{
		"3.249.9": `Pulumi CLI version 3.249.9 does not satisfy the version range ">=3.250.0"`,
		"3.45.0":  "Pulumi CLI version 3.45.0",
		"2.999.0": "Pulumi CLI version 2.999.0",
		"":        "Please upgrade the Pulumi CLI",
	} {
		err := requirePulumi(t, version)
		require.ErrorContains(t, err, message)
		require.ErrorContains(t, err, "this program needs Pulumi 3.250.0 or newer")
		require.ErrorContains(t, err, "curl -fsSL https://get.pulumi.com | sh -s -- --version 3.250.0")
	}
	for _, version := range []string{"3.250.0", "v3.250.0", "3.251.1", "4.0.0"} {
		require.NoError(t, requirePulumi(t, version), version)
	}
}

func TestAllFilesNameTheSamePulumi(t *testing.T) {
	read := func(path string) string {
		content, err := os.ReadFile(filepath.Join("..", path))
		require.NoError(t, err)
		return string(content)
	}
	var project struct {
		Required string `yaml:"requiredPulumiVersion"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(read("Pulumi.yaml")), &project))
	require.Equal(t, ">="+minimumPulumi, project.Required)

	short := regexp.MustCompile(`^\d+\.\d+`).FindString(minimumPulumi)
	require.Contains(t, read("README.md"), "needs Pulumi "+short+" or newer")
	require.Contains(t, read("localcloud/offline/tools.go"), `"v`+minimumPulumi+`"`, "the local cloud's")
	setups, err := filepath.Glob("../.github/*/*.yml")
	require.NoError(t, err)
	for _, path := range append(setups, "../.github/actions/setup/action.yml") {
		for _, match := range regexp.MustCompile(`pulumi-version: (.*)`).FindAllStringSubmatch(read(strings.TrimPrefix(path,
			"../")), -1) {
			require.Equal(t, minimumPulumi, match[1], path)
		}
	}
	require.Contains(t, read("go.mod"), "github.com/pulumi/pulumi/sdk/v3 v"+minimumPulumi)
}
