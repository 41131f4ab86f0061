package rehearsal

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The Makefile repeats the rule, because a shell cannot call the package.
func TestMakefileHasTheSameRule(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	pattern := regexp.MustCompile(`case "\$\(LOOKED_AT\)" in \\\n\t(\S+)\) variables=`).FindSubmatch(makefile)
	require.NotNil(t, pattern)
	for name, local := range map[string]bool{
		"local": true, "local-": true, "local-test": true, "locals": false, "local/test": false, "test": false,
		"production": false, "": false, "my-local": false, "Local": false,
	} {
		require.Equal(t, local, Stack(name), name)
		script := `case "$0" in ` + string(pattern[1]) + `) ;; *) exit 1;; esac`
		require.Equal(t, local, exec.CommandContext(t.Context(), "sh", "-c", script, name).Run() == nil, name)
	}
}
