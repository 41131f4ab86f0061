package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/secrets"
)

// stateBucket holds the stacks' state.
const stateBucket = "immutable-infra-state-123456789012-us-east-1"

// clone returns a new checkout as on a machine without any data of the project: without builds, and with an empty
// Pulumi home except for the plugins.
func (p *project) clone(t *testing.T) *project {
	t.Helper()
	clone := p.copy(t)
	require.NoError(t, os.Remove(filepath.Join(clone.dir, ".build")))
	home := t.TempDir()
	plugins := strings.TrimSpace(p.must(t, time.Minute, "bash", "-c", `echo "$PULUMI_HOME/plugins"`))
	require.NoError(t, os.Symlink(plugins, filepath.Join(home, "plugins")))
	clone.env = append(append([]string{}, p.env...), "PULUMI_HOME="+home) // the last value wins
	return clone
}

// newClone deploys from a checkout that is then lost, and requires that another one has the same state.
func newClone(t *testing.T, p *project) {
	backend := p.must(t, time.Minute, "pulumi", "whoami", "--verbose", "--json")
	require.Contains(t, backend, "s3://"+stateBucket)
	stored := p.must(t, time.Minute, "env", "-u", "AWS_CA_BUNDLE", "rclone", "lsf",
		":s3,env_auth=true:"+stateBucket+"/.pulumi/stacks/immutable-infra/")
	require.Contains(t, stored, "local.json\n")

	lost := p.clone(t)
	up := lost.pulumiUp(t, "--expect-no-changes")
	require.NoError(t, up.err, up.String())
	before := p.resources(t)
	require.NoError(t, os.RemoveAll(lost.dir))

	preview := p.clone(t).run(t, 5*time.Minute, "pulumi", "preview", "--expect-no-changes", "--stack", "local",
		"--non-interactive")
	require.NoError(t, preview.err, preview.String())
	require.Equal(t, before, p.resources(t))
	t.Logf("a new clone's preview, including all builds, took %.0f s", preview.took.Seconds())
}

// stackRenamed renames the stack, requires that the program refuses to deploy it, and renames it back as the error
// suggests.
func stackRenamed(t *testing.T, p *project) {
	const renamed = "local-renamed"
	checkout := p.copy(t)
	before := p.resources(t)
	rename := func(from, to string) result {
		return checkout.run(t, time.Minute, "pulumi", "stack", "rename", to, "--stack", from, "--non-interactive")
	}
	away := rename("local", renamed)
	require.NoError(t, away.err, away.String())
	renamedBack := false
	t.Cleanup(func() {
		if !renamedBack {
			back := rename(renamed, "local")
			require.NoError(t, back.err, back.String())
		}
	})
	require.NoFileExists(t, filepath.Join(checkout.dir, "Pulumi.local.yaml"))

	for _, refused := range []result{
		checkout.run(t, 5*time.Minute, "pulumi", "preview", "--stack", renamed, "--non-interactive"),
		checkout.run(t, 5*time.Minute, "pulumi", "up", "--yes", "--skip-preview", "--stack", renamed, "--non-interactive"),
	} {
		require.Error(t, refused.err, refused.String())
		require.Contains(t, refused.String(), "stack "+renamed+" was deployed as local: ")
		require.Contains(t, refused.String(), "pulumi stack rename local --stack "+renamed)
		require.NotContains(t, refused.String(), "replace)", "nothing is planned")
	}

	back := rename(renamed, "local")
	require.NoError(t, back.err, back.String())
	renamedBack = true
	require.FileExists(t, filepath.Join(checkout.dir, "Pulumi.local.yaml"))
	require.Equal(t, before, p.resources(t), "nothing was replaced")
	noChange(t, p)
}

// addressesHidden encrypts the addresses from which SSH is allowed, which must change nothing, and then adds an
// address, which a preview must not show.
func addressesHidden(t *testing.T, p *project) {
	checkout := p.copy(t)
	allow := func(i int, block string) {
		checkout.must(t, time.Minute, "pulumi", "config", "set", "--secret", "--path", fmt.Sprintf("sshAllowFrom[%d]", i),
			block, "--stack", "local")
	}
	preview := func(args ...string) result {
		return checkout.run(t, 5*time.Minute, "pulumi",
			append([]string{"preview", "--diff", "--stack", "local", "--non-interactive"}, args...)...)
	}
	allow(0, "198.18.0.1/32")
	same := preview("--expect-no-changes")
	require.NoError(t, same.err, same.String())

	allow(1, "198.18.77.7/32")
	more := preview()
	require.NoError(t, more.err, more.String())
	require.Contains(t, more.stdout, "aws:ec2/securityGroup:SecurityGroup")
	require.Contains(t, more.stdout, "[secret]")
	// Only the new address can be checked: the previous one stays in the state until an update.
	require.NotContains(t, more.String(), "198.18.77.7")
}

// locked reports whether the stack local is locked by an update.
func (p *project) locked(t *testing.T) bool {
	t.Helper()
	locks := p.run(t, time.Minute, "env", "-u", "AWS_CA_BUNDLE", "rclone", "lsf", "--recursive",
		":s3,env_auth=true:"+stateBucket+"/.pulumi/locks/organization/immutable-infra/local")
	return strings.Contains(locks.stdout, ".json")
}

// updateWatched updates the stack from a checkout while a second update is attempted from p. During and after the
// update, it searches outputs, logs, the state and the process list for each secret.
func (p *project) updateWatched(t *testing.T, checkout *project) result {
	t.Helper()
	events := filepath.Join(t.TempDir(), "events")
	watch := secrets.Watch(t.Context())
	var first result
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		debug := &project{dir: checkout.dir, env: append(append([]string{}, checkout.env...), "PULUMI_DEBUG_COMMANDS=true")}
		first = debug.pulumiUp(t, "--debug", "--event-log", events)
	}()
	eventually(t, time.Minute, func() (bool, string) { return checkout.locked(t), "the stack is not locked" })
	second := p.pulumiUp(t, "--skip-preview")
	done.Wait()
	processes := watch.End()
	require.NoError(t, first.err, first.String())

	require.Error(t, second.err, "the stack was locked: %s", second.String())
	require.Contains(t, second.stdout+second.stderr, "the stack is currently locked by 1 lock(s)")
	require.False(t, p.locked(t), "the update removed its lock")
	preview := checkout.run(t, 5*time.Minute, "pulumi", "preview", "--expect-no-changes", "--stack", "local",
		"--non-interactive")
	require.NoError(t, preview.err, preview.String())
	require.Empty(t, p.orphans(t))
	t.Logf("the second update was refused after %.1f s, the first took %.0f s", second.took.Seconds(),
		first.took.Seconds())

	eventLog, err := os.ReadFile(events)
	require.NoError(t, err)
	sources := map[string][]byte{
		"output of pulumi up":      []byte(first.String()),
		"event log of pulumi up":   eventLog,
		"output of pulumi preview": []byte(preview.String()),
		"exported state":           []byte(p.must(t, time.Minute, "pulumi", "stack", "export", "--stack", "local")),
		"history": []byte(p.must(t, time.Minute, "pulumi", "stack", "history", "--json",
			"--full-dates", "--stack", "local")),
		"process list":            processes,
		"logs on the server":      []byte(p.serverLogs(t)),
		"logs of the local cloud": []byte(p.cloudLogs(t)),
		"all versions in the state bucket": p.files(t, filepath.Join(p.home(), "s3", "data", stateBucket),
			filepath.Join(p.home(), "s3", "versions", stateBucket)),
	}
	known := p.secrets(t)
	for source, content := range sources {
		// A known text in each source shows that the search works.
		mark := map[string]string{
			"process list":            "pulumi up",
			"logs of the local cloud": "localcloud",
			"history":                 "resourceChanges",
		}[source]
		if mark == "" {
			mark = "web"
		}
		require.True(t, secrets.In(content, mark), "%s has no %q", source, mark)
		for name, secret := range known {
			if secrets.In(content, secret) {
				t.Errorf("%s contains %s in plain text", source, name)
			}
		}
		t.Logf("%s: searched %d bytes for %d secrets", source, len(content), len(known))
	}
	return first
}

// secrets returns all secrets by name.
func (p *project) secrets(t *testing.T) map[string]string {
	t.Helper()
	known := map[string]string{}
	add := func(name, secret string) {
		require.GreaterOrEqual(t, len(secret), 16, "%s is too short to search for", name)
		known[name] = secret
	}
	configured, err := secrets.Configured([]byte(p.must(t, time.Minute, "pulumi", "config", "--show-secrets", "--json",
		"--stack", "local")))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(configured), 3)
	for key, value := range configured {
		add("the configured secret "+key, value)
	}
	inState, err := secrets.PrivateKeys([]byte(p.must(t, time.Minute, "pulumi", "stack", "export", "--show-secrets",
		"--stack", "local")))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(inState), 3, "the keys of the CA, the host and the bootstrap user")
	for i, key := range inState {
		add("private key "+string(rune('A'+i))+" of the state", key)
	}
	files, err := filepath.Glob(filepath.Join(p.home(), "tls", "*.key"))
	require.NoError(t, err)
	for _, file := range append(files, filepath.Join(p.home(), "ssh", "id_ed25519")) {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, key := range secrets.PEMKeys(string(content)) {
			add("the key of "+filepath.Base(file), key)
		}
	}
	add("the S3 server's secret key",
		strings.TrimSpace(p.must(t, time.Minute, "bash", "-c", `echo "$AWS_SECRET_ACCESS_KEY"`)))
	role := p.ssh(t,
		`token=$(curl -sS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
meta=http://169.254.169.254/latest/meta-data/iam/security-credentials/
curl -sS -H "X-aws-ec2-metadata-token: $token" "$meta$(curl -sS -H "X-aws-ec2-metadata-token: $token" "$meta")"`)
	require.NoError(t, role.err, role.String())
	var credentials struct{ SecretAccessKey string }
	require.NoError(t, json.Unmarshal([]byte(role.stdout), &credentials))
	add("the secret key of the server's role", credentials.SecretAccessKey)

	stored := p.ssh(t, "sudo cat /srv/traefik/acme/acme.json")
	require.NoError(t, stored.err, stored.stderr)
	var acme struct {
		Acme struct {
			Account      struct{ PrivateKey string }
			Certificates []struct {
				Domain struct{ Main string }
				Key    []byte
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stored.stdout), &acme))
	add("the key of the account at the certificate authority", acme.Acme.Account.PrivateKey)
	require.GreaterOrEqual(t, len(acme.Acme.Certificates), 2)
	for _, certificate := range acme.Acme.Certificates {
		add("the key of the certificate for "+certificate.Domain.Main+", as it is stored",
			base64.StdEncoding.EncodeToString(certificate.Key))
		for _, key := range secrets.PEMKeys(string(certificate.Key)) {
			add("the key of the certificate for "+certificate.Domain.Main, key)
		}
	}
	return known
}

// serverLogs returns all logs and the processes of the server that holds the VIP.
func (p *project) serverLogs(t *testing.T) string {
	t.Helper()
	logs := p.ssh(t,
		`sudo journalctl --no-pager; sudo sh -c 'cat /var/log/*.log /var/log/cloud-init*' 2>/dev/null; sudo docker compose --project-directory /opt/site logs --no-color 2>&1; ps axww`)
	require.NoError(t, logs.err, logs.String())
	return logs.stdout
}

// cloudLogs returns the logs of the local cloud's containers and programs.
func (p *project) cloudLogs(t *testing.T) string {
	t.Helper()
	return p.must(t, time.Minute, "bash", "-c",
		`docker ps --all --format '{{.Names}}' --filter label=immutable-infra.localcloud | while read -r name; do echo "$name"; docker logs "$name" 2>&1; done
cat .localcloud/run/*.log 2>/dev/null || true`)
}

// files returns the content of all files in the directories.
func (p *project) files(t *testing.T, dirs ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "find", append(dirs, "-type", "f", "-exec", "cat", "{}", "+")...)
	content, err := command.Output()
	require.NoError(t, err)
	return content
}
