package awsplugin

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// The engine looks for a plugin with the SDK's version.
func TestPluginVersionMatchesProgramSDK(t *testing.T) {
	for _, path := range []string{"../../../../go.mod", "../../../../ops/go.mod"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		module, err := modfile.Parse(path, text, nil)
		require.NoError(t, err)
		found := ""
		for _, required := range module.Require {
			if required.Mod.Path == "github.com/pulumi/pulumi-aws/sdk/v6" {
				found = required.Mod.Version
			}
		}
		require.Equal(t, "v"+version, found, path)
	}
}
