package main

import (
	"bytes"
	"maps"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStandardOutputHasOnlyTheRelease(t *testing.T) {
	t.Chdir(t.TempDir())
	environment := map[string]string{
		"SITE_DIR": ".site", "WORK_DIR": ".build", "STACK": "test", "SOURCE_HASH": "0123", "JEKYLL_ENV": "production",
		"BUILD_COMMAND": "mkdir _site; echo front | tee _site/index.html",
	}
	require.NoError(t, os.Mkdir(".site", 0o755))
	for name, c := range map[string]struct {
		args   []string
		change map[string]string
		stdout string
		usage  bool
	}{
		"build":         {args: []string{"build"}, stdout: `^[0-9a-f]{16}\n$`},
		"a build fails": {args: []string{"build"}, change: map[string]string{"BUILD_COMMAND": "echo front; exit 1"}},
		"no verb":       {usage: true},
		"another verb":  {args: []string{"upload"}, usage: true},
		"no directory":  {args: []string{"build"}, change: map[string]string{"SITE_DIR": ""}, usage: true},
		"no bucket":     {args: []string{"sync"}, usage: true},
	} {
		t.Run(name, func(t *testing.T) {
			variables := maps.Clone(environment)
			maps.Copy(variables, c.change)
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), c.args, func(name string) string { return variables[name] }, &stdout, &stderr)
			if c.stdout != "" {
				require.NoError(t, err)
				require.Regexp(t, c.stdout, stdout.String())
				require.Contains(t, stderr.String(), "front")
				return
			}
			require.Error(t, err)
			require.Empty(t, stdout.String())
			if c.usage {
				require.ErrorIs(t, err, errUsage)
			}
		})
	}
}
