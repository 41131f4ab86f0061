package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// brokenServer is one thing that can be wrong with a new server.
type brokenServer struct {
	name string
	// breaks changes a copy of the project.
	breaks func(t *testing.T, broken *project)
	// causes must all be in what the failed update says at its end.
	causes []string
	// late is that the server becomes ready when its time is over.
	late bool
}

// replaced is one text for another in a file.
func replaced(file, old, new string) func(t *testing.T, broken *project) {
	return func(t *testing.T, broken *project) {
		t.Helper()
		broken.replace(t, file, old, new)
	}
}

// brokenTimeout is the provisioningTimeout of a broken server, in minutes.
const brokenTimeout = 2

func brokenServers() []brokenServer {
	const (
		userData   = "server/userdata.go"
		firewall   = "components/webserver.go"
		image      = "server/files/nginx/Dockerfile"
		nginx      = "server/files/nginx/nginx.conf"
		compose    = "server/files/compose.yaml"
		pull       = "server/files/systemd/agent-pull.service"
		watch      = "server/files/systemd/agent-watch.service"
		probe      = `["CMD", "busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/.well-known/release"]`
		commands   = `[][]string{{"systemctl", "daemon-reload"}`
		killItself = `ExecStart=/bin/sh -c 'kill -KILL $$$$' `
	)
	return []brokenServer{{
		name:   "a package that does not exist",
		breaks: replaced(userData, `"docker-buildx", "iptables"}`, `"docker-buildx", "iptables", "no-such-package"}`),
		causes: []string{`cloud-init failed`, `no-such-package`},
	}, {
		name:   "no Docker",
		breaks: replaced(userData, `"docker.io", "docker-cli", "docker-compose", "docker-buildx", `, ``),
		causes: []string{`docker.*executable file not found`},
	}, {
		name:   "an image that does not build",
		breaks: replaced(image, "nginx-light", "nginx-lite"),
		causes: []string{`an image could not be built`, `Unable to locate package nginx-lite`},
	}, {
		name:   "a container that exits",
		breaks: replaced(image, `"daemon off;"`, `"daemon off; sendfiel on;"`),
		causes: []string{`web: restarting because it exits`, `unknown directive "sendfiel"`},
	}, {
		name:   "a container that never turns healthy",
		breaks: replaced(compose, "http://127.0.0.1:8080/", "http://127.0.0.1:8083/"),
		causes: []string{`web: unhealthy`, `can't connect to remote host`},
	}, {
		name:   "wrong content",
		breaks: replaced(nginx, "root /srv/site/current/site;", "root /srv/site/current/site;\n        location = / { try_files /404.html =404; }"),
		causes: []string{`release +not ok .*/ has other bytes than in the bucket`},
	}, {
		name:   "a full disk",
		breaks: replaced(userData, commands, `[][]string{{"install", "-d", "/srv/site"}, {"mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", "/srv/site"}, {"systemctl", "daemon-reload"}`),
		causes: []string{`no space left on device`, `the agent could not bring the site`},
	}, {
		name:   "a pull that is killed",
		breaks: replaced(pull, "ExecStart=", killItself),
		causes: []string{`agent-pull\.service: Main process exited, code=killed, status=9/KILL`},
	}, {
		name:   "a watch that is killed",
		breaks: replaced(watch, "ExecStart=", killItself),
		causes: []string{`agent-watch\.service: .*(killed|signal|restart)`, `code=killed, status=9/KILL`},
	}, {
		name:   "another host key than the pinned one",
		breaks: otherHostKey,
		causes: []string{`host key mismatch`},
	}, {
		name: "readiness when the time is over",
		// The probe notes when it was made first, and succeeds two minutes later.
		breaks: replaced(compose, probe, `["CMD-SHELL", "[ -e /tmp/begun ] || touch /tmp/begun; find /tmp/begun -mmin +2 | grep -q ."]`),
		causes: []string{`the server is not ready \d+ seconds after provisioning began`, `web: (unhealthy|starting)`},
		late:   true,
	}, {
		name:   "a closed port",
		breaks: replaced(firewall, `ingress("HTTPS", 443, everybody),`, ``),
		causes: []string{`cannot verify https://\S+ at \S+ after \d+ s:`, `/\.well-known/server: expected i-\w+, got (dial: .*(timeout|refused)|context deadline exceeded)`},
	}}
}

// otherHostKey gives the server a key that it could very well have.
func otherHostKey(t *testing.T, broken *project) {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	broken.must(t, time.Minute, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
	private, err := os.ReadFile(key)
	require.NoError(t, err)
	public, err := os.ReadFile(key + ".pub")
	require.NoError(t, err)
	broken.replace(t, "server/userdata.go",
		"hostKeys{args.HostPrivateKey, args.HostPublicKey, args.HostCertificate}",
		fmt.Sprintf("hostKeys{%q, %q, args.HostCertificate}", private, public))
}

// TestBrokenServers replaces the server by one that is broken, and the broken
// one by a good one, many times over.
func TestBrokenServers(t *testing.T) {
	if os.Getenv("E2E") != "broken" {
		t.Skip("needs a local cloud that is up and takes half an hour: make test-broken")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	broken := p.copy(t)

	for _, c := range brokenServers() {
		t.Run(c.name, func(t *testing.T) {
			t.Run("the update fails, and visitors notice nothing", func(t *testing.T) { breakServer(t, broken, c) })
			if c.late {
				t.Run("the same update succeeds when the server has become ready", func(t *testing.T) { lateServer(t, broken, c) })
			}
			t.Run("the next good update needs nothing done by hand", func(t *testing.T) { mendServer(t, p) })
		})
	}
	t.Run("a boot with a warning", func(t *testing.T) {
		t.Run("is no reason to fail", func(t *testing.T) { warnedServer(t, p, broken) })
		t.Run("nor is the next update", func(t *testing.T) { mendServer(t, p) })
	})
	t.Run("an old server that does not answer", func(t *testing.T) {
		t.Run("the update waits for it, and succeeds", func(t *testing.T) { deafServer(t, p, broken) })
		t.Run("so does the next one", func(t *testing.T) { mendServer(t, p) })
	})
}

func breakServer(t *testing.T, broken *project, c brokenServer) {
	before := broken.outputs(t)
	c.breaks(t, broken)
	broken.set(t, "provisioningTimeout", brokenTimeout)

	visitors := broken.visit(t)
	up := broken.pulumiUp(t)
	seen := visitors.seen(t)

	require.Error(t, up.err, up.String())
	for _, cause := range c.causes {
		t.Logf("after %.0f s: %s", up.took.Seconds(), lineOf(t, diagnostics(t, up), cause))
	}
	require.Zero(t, seen.unharmed(t), "the VIP moved")
	require.Empty(t, seen.moves)
	server, release := broken.served(t)
	require.Equal(t, before.ServerID, server)
	require.Equal(t, before.Release, release)
	require.Equal(t, before, broken.outputs(t), "the stack says what is so")
}

// lineOf is the line of a command's output that matches, which there must be.
func lineOf(t *testing.T, output, expression string) string {
	t.Helper()
	pattern := regexp.MustCompile(expression)
	for line := range strings.Lines(output) {
		if pattern.MatchString(line) {
			return strings.TrimSpace(line)
		}
	}
	require.Fail(t, "no line matches "+expression, output)
	return ""
}

// diagnostics are what Pulumi says at the end of an update that failed. What it
// shows in passing is not there to be read any more.
func diagnostics(t *testing.T, up result) string {
	t.Helper()
	_, said, found := strings.Cut(up.stdout+up.stderr, "\nDiagnostics:\n")
	require.True(t, found, up.String())
	return said
}

// lateServer repeats the update whose server was too late: it goes on with that
// server as soon as that is ready.
func lateServer(t *testing.T, broken *project, c brokenServer) {
	before := broken.outputs(t)
	c.breaks(t, broken)
	visitors := broken.visit(t)
	up := broken.pulumiUp(t)
	cut := visitors.seen(t).unharmed(t)
	require.NoError(t, up.err, up.String())
	t.Logf("the update took %.0f s; requests cut by the move of the VIP: %d", up.took.Seconds(), cut)
	require.NotEqual(t, before.ServerID, broken.outputs(t).ServerID)
	broken.converged(t)
}

func mendServer(t *testing.T, p *project) {
	visitors := p.visit(t)
	up := p.converges(t)
	cut := visitors.seen(t).unharmed(t)
	t.Logf("the update took %.0f s; requests cut by the move of the VIP: %d", up.took.Seconds(), cut)
}

// warnedServer makes a server whose cloud-init ends with a warning, about a key
// that it does not know.
func warnedServer(t *testing.T, p, broken *project) {
	before := p.outputs(t)
	broken.replace(t, "server/userdata.go", `text.WriteString("#cloud-config\n")`, `text.WriteString("#cloud-config\nno_such_key: true\n")`)

	visitors := broken.visit(t)
	up := broken.pulumiUp(t)
	cut := visitors.seen(t).unharmed(t)
	require.NoError(t, up.err, up.String())
	require.NotEqual(t, before.ServerID, broken.outputs(t).ServerID)
	t.Logf("the update took %.0f s: %s; requests cut by the move of the VIP: %d", up.took.Seconds(), lineOf(t, up.String(), `failed schema validation`), cut)
	require.Equal(t, "2\n", p.ssh(t, "cloud-init status >/dev/null; echo $?").stdout)
	broken.converged(t)
}

// deafServer replaces a server on which nothing listens for its successor.
func deafServer(t *testing.T, p, broken *project) {
	before := p.outputs(t)
	stopped := p.ssh(t, "sudo systemctl stop agent-watch.service")
	require.NoError(t, stopped.err, stopped.String())
	broken.set(t, "generation", 2000)

	visitors := broken.visit(t)
	up := broken.pulumiUp(t)
	cut := visitors.seen(t).unharmed(t)
	require.NoError(t, up.err, up.String())
	t.Logf("after %.0f s: %s; requests cut by the move of the VIP: %d", up.took.Seconds(), lineOf(t, up.String(), before.ServerID+` did not answer within 30s`), cut)
	require.NotEqual(t, before.ServerID, broken.outputs(t).ServerID)
	broken.converged(t)
}
