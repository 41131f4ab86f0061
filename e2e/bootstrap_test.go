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

// keyedStack is a stack whose secrets are encrypted with a KMS key, like production's.
const keyedStack = "local-keyed"

func isPassphrase(variable string) bool {
	return strings.HasPrefix(variable, "PULUMI_CONFIG_PASSPHRASE=")
}

// bootstrapped creates a stack's prerequisites as for production.
func bootstrapped(t *testing.T, p *project) {
	checkout := p.copy(t)
	// The environment must not contain a passphrase.
	checkout.env = slices.DeleteFunc(slices.Clone(p.env), isPassphrase)
	file := filepath.Join(checkout.dir, "Pulumi."+keyedStack+".yaml")
	test, err := os.ReadFile(filepath.Join(checkout.dir, "Pulumi."+testStack+".yaml"))
	require.NoError(t, err)
	content := regexp.MustCompile(`(?m)^(#.*|encryptionsalt:.*)\n`).ReplaceAllString(string(test), "")
	content = strings.ReplaceAll(content, "test.localcloud.test", "keyed.localcloud.test")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o644))

	created := checkout.run(t, 5*time.Minute, "make", "bootstrap", "STACK="+keyedStack)
	require.NoError(t, created.err, created.String())
	t.Cleanup(func() {
		removed := checkout.run(t, time.Minute, "pulumi", "stack", "rm", "--yes", "--non-interactive", "--stack", keyedStack)
		require.NoError(t, removed.err, removed.String())
	})
	// A key outlives its stack, and therefore also an earlier run of this test.
	require.Regexp(t, "key alias/immutable-infra-"+keyedStack+": (created|exists)", created.stdout)
	require.Contains(t, created.stdout, "stack "+keyedStack+": created")
	require.Contains(t, created.stdout, "encryption: not supported by this store")
	initialized, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(initialized),
		"secretsprovider: awskms://alias/immutable-infra-"+keyedStack+"?region=us-east-1\n")
	require.Contains(t, string(initialized), "encryptedkey: ")

	again := checkout.run(t, 5*time.Minute, "make", "bootstrap", "STACK="+keyedStack)
	require.NoError(t, again.err, again.String())
	require.NotContains(t, again.stdout, ": created")
	unchanged, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(initialized), string(unchanged))
	t.Logf("the first bootstrap took %.1f s, the second %.1f s", created.took.Seconds(), again.took.Seconds())

	const secret = "01234567-89ab-cdef-0123-456789abcdef"
	checkout.must(t, time.Minute, "pulumi", "config", "set", "--secret", "victorOpsKey", secret, "--stack", keyedStack)
	encrypted, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(encrypted), secret)

	// A clone needs only the file and the permission to use the key.
	clone := p.clone(t)
	clone.env = slices.DeleteFunc(clone.env, isPassphrase)
	require.NoError(t, os.WriteFile(filepath.Join(clone.dir, filepath.Base(file)), encrypted, 0o644))
	preview := clone.run(t, 5*time.Minute, "pulumi", "preview", "--non-interactive", "--stack", keyedStack)
	require.NoError(t, preview.err, preview.String())
	require.Contains(t, preview.stdout, " to create")
	require.NotContains(t, preview.String(), secret)
	require.Equal(t, secret,
		strings.TrimSpace(clone.must(t, time.Minute, "pulumi", "config", "get", "victorOpsKey", "--stack", keyedStack)))

	// Without that permission, the secret cannot be read.
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
