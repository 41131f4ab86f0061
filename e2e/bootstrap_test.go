package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// keyedStack is a stack whose secrets are encrypted by a key of KMS, like production's.
const keyedStack = "local-keyed"

func isPassphrase(variable string) bool {
	return strings.HasPrefix(variable, "PULUMI_CONFIG_PASSPHRASE=")
}

// bootstrapped creates the resources that a stack needs first, as for production.
func bootstrapped(t *testing.T, p *project) {
	checkout := p.copy(t)
	// No passphrase is available here.
	checkout.env = slices.DeleteFunc(slices.Clone(p.env), isPassphrase)
	file := filepath.Join(checkout.dir, "Pulumi."+keyedStack+".yaml")
	test, err := os.ReadFile(filepath.Join(checkout.dir, "Pulumi."+testStack+".yaml"))
	require.NoError(t, err)
	content := regexp.MustCompile(`(?m)^(#.*|encryptionsalt:.*)\n`).ReplaceAllString(string(test), "")
	content = strings.ReplaceAll(content, "test.localcloud.test", "keyed.localcloud.test")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))

	made := checkout.run(t, 5*time.Minute, "make", "bootstrap", "STACK="+keyedStack)
	require.NoError(t, made.err, made.String())
	t.Cleanup(func() {
		gone := checkout.run(t, time.Minute, "pulumi", "stack", "rm", "--yes", "--non-interactive", "--stack", keyedStack)
		require.NoError(t, gone.err, gone.String())
	})
	// A key outlives its stack, and so an earlier run of this test.
	require.Regexp(t, "key alias/immutable-infra-"+keyedStack+": (created|exists)", made.stdout)
	require.Contains(t, made.stdout, "stack "+keyedStack+": created")
	require.Contains(t, made.stdout, "encryption: not supported by this store")
	initialised, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(initialised),
		"secretsprovider: awskms://alias/immutable-infra-"+keyedStack+"?region=us-east-1\n")
	require.Contains(t, string(initialised), "encryptedkey: ")

	again := checkout.run(t, 5*time.Minute, "make", "bootstrap", "STACK="+keyedStack)
	require.NoError(t, again.err, again.String())
	require.NotContains(t, again.stdout, ": created")
	unchanged, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(initialised), string(unchanged))
	t.Logf("a bootstrap took %.1f s, the same again %.1f s", made.took.Seconds(), again.took.Seconds())

	const secret = "01234567-89ab-cdef-0123-456789abcdef"
	checkout.must(t, time.Minute, "pulumi", "config", "set", "--secret", "victorOpsKey", secret, "--stack", keyedStack)
	encrypted, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(encrypted), secret)

	// The file and the permission to use the key are sufficient.
	clone := p.clone(t)
	clone.env = slices.DeleteFunc(clone.env, isPassphrase)
	require.NoError(t, os.WriteFile(filepath.Join(clone.dir, filepath.Base(file)), encrypted, 0o644))
	preview := clone.run(t, 5*time.Minute, "pulumi", "preview", "--non-interactive", "--stack", keyedStack)
	require.NoError(t, preview.err, preview.String())
	require.Contains(t, preview.stdout, " to create")
	require.NotContains(t, preview.String(), secret)
	require.Equal(t, secret,
		strings.TrimSpace(clone.must(t, time.Minute, "pulumi", "config", "get", "victorOpsKey", "--stack", keyedStack)))

	// Without that permission, nothing can be read.
	known := &project{dir: checkout.dir, env: p.env}
	// The role may read the stack's state, but lacks the key of its secrets.
	known.replace(t, "ops/access/Pulumi.local.yaml", "[local, local-test, local-production]", "["+keyedStack+"]")
	known.replace(t, "ops/access/Pulumi.local.yaml", "production: local-production", "production: "+keyedStack)
	known.replace(t, "ops/access/Pulumi.local.yaml", `  immutable-infra-access:names:
    local-test: [test.localcloud.test]
    local-production: [production.localcloud.test]
`, "")
	known.access(t)
	refused := known.as(t, previewRole).run(t, time.Minute, "pulumi", "config", "get", "victorOpsKey", "--stack",
		keyedStack)
	require.Error(t, refused.err, refused.String())
	require.Contains(t, refused.stderr, "AccessDenied")
	require.NotContains(t, refused.String(), secret)
}
