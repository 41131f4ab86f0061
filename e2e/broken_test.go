package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// brokenServer is a fault of a new server.
type brokenServer struct {
	name string
	// breaks introduces the fault into a copy of the project.
	breaks func(t *testing.T, broken *project)
	// causes are patterns that must all match the diagnostics of the failed update.
	causes []string
	// late marks a server that becomes ready after its timeout.
	late bool
}

// brokenTimeout is the provisioningTimeout of broken servers, in minutes. A slow machine takes half of it to build the
// images.
const brokenTimeout = 5

func brokenServers() []brokenServer {
	const (
		killed  = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'kill -KILL $$$$'\n"
		noImage = "services: {web: {build: {dockerfile_inline: \"FROM debian:trixie-slim\\nRUN apt-get update && apt-get " +
			"install -y nginx-lite\\n\"}}}\n"
		exits    = `services: {web: {command: ["nginx", "-g", "daemon off; sendfiel on;"]}}`
		unprobed = `services: {web: {healthcheck: {test: ["CMD", "busybox", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8083/"]}}}`
		// Traefik routes requests for the front page elsewhere.
		wrong = "http:\n  routers:\n    wrong: {entryPoints: [https], rule: Path(`/`), priority: 200000, middlewares: " +
			"[wrong], service: web, tls: {}}\n  middlewares:\n    wrong: {replacePath: {path: /.well-known/release}}\n"
	)
	// The probe records its first run and succeeds after the timeout.
	late := fmt.Sprintf(`services: {web: {healthcheck: {test: ["CMD-SHELL", "[ -e /tmp/begun ] || touch /tmp/begun; `+
		`find /tmp/begun -mmin +%d | grep -q ."]}}}`, brokenTimeout)
	return []brokenServer{{
		name:   "a package that does not exist",
		breaks: declared(func(c cloudConfig) { c.install("no-such-package") }),
		causes: []string{`cloud-init failed`, `no-such-package`},
	}, {
		name: "no Docker",
		breaks: func(t *testing.T, broken *project) {
			broken.declare(t,
				func(c cloudConfig) { c.leaveOut(t, "docker.io", "docker-cli", "docker-compose", "docker-buildx") })
		},
		causes: []string{`docker.*executable file not found`},
	}, {
		name:   "an image that does not build",
		breaks: declared(func(c cloudConfig) { c.override(noImage) }),
		causes: []string{`cannot build an image`, `Unable to locate package nginx-lite`},
	}, {
		name:   "a container that exits",
		breaks: declared(func(c cloudConfig) { c.override(exits) }),
		causes: []string{`web: restarting because it exits`, `unknown directive "sendfiel"`},
	}, {
		name:   "a container that never turns healthy",
		breaks: declared(func(c cloudConfig) { c.override(unprobed) }),
		causes: []string{`web: unhealthy`, `can't connect to remote host`},
	}, {
		name:   "wrong content",
		breaks: declared(func(c cloudConfig) { c.write("/srv/traefik/dynamic/wrong.yaml", wrong) }),
		causes: []string{`release +not ok .*/ has other bytes than in the bucket`},
	}, {
		name: "a full disk",
		breaks: declared(func(c cloudConfig) {
			c.runFirst([]string{"install", "-d", "/srv/site"},
				[]string{"mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", "/srv/site"})
		}),
		causes: []string{
			`the release needs \d+ bytes, and /srv/site has \d+ bytes free`, `cannot download the site from the content bucket`,
		},
	}, {
		name:   "a pull that is killed",
		breaks: declared(func(c cloudConfig) { c.dropIn("agent-pull.service", killed) }),
		causes: []string{`agent-pull\.service: Main process exited, code=killed, status=9/KILL`},
	}, {
		name:   "a watch that is killed",
		breaks: declared(func(c cloudConfig) { c.dropIn("agent-watch.service", killed) }),
		causes: []string{`agent-watch\.service: .*(killed|signal|restart)`, `code=killed, status=9/KILL`},
	}, {
		name: "another host key than the pinned one",
		// The release itself exists.
		breaks: declared(func(c cloudConfig) {
			c.runFirst([]string{
				"sh", "-c",
				"rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && " +
					"systemctl restart ssh",
			})
		}),
		causes: []string{`host key mismatch`},
	}, {
		name:   "readiness when the time is over",
		breaks: declared(func(c cloudConfig) { c.override(late) }),
		causes: []string{`the server is not ready after \d+ s of provisioning`, `web: (unhealthy|starting)`},
		late:   true,
	}, {
		name: "a closed port",
		// Visitors' packets, but not the server's own, are redirected to a port on which nothing listens.
		breaks: declared(func(c cloudConfig) {
			c.runFirst([]string{
				"iptables", "-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport", "443", "-m", "addrtype", "--dst-type", "LOCAL",
				"-j", "REDIRECT", "--to-ports", "9",
			})
		}),
		causes: []string{
			`cannot verify https://\S+ at \S+ after \d+ s:`,
			`/\.well-known/server: expected i-\w+, got (dial: .*(timeout|refused)|context deadline exceeded)`,
		},
	}}
}

// TestBrokenServers replaces the server with a broken one for each fault, and then with a good one.
func TestBrokenServers(t *testing.T) {
	if os.Getenv("E2E") != "broken" {
		t.Skip("needs a local cloud that is up and takes 40 to 140 minutes: make test-broken")
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
			t.Run("the next good update needs no manual step", func(t *testing.T) { mendServer(t, p) })
		})
	}
	t.Run("a server that terminated itself after a failed update", func(t *testing.T) {
		t.Run("is no longer there", func(t *testing.T) { endedServer(t, broken) })
		t.Run("and the next good update needs no manual step", func(t *testing.T) { mendServer(t, p) })
	})
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
	require.Equal(t, before, broken.outputs(t), "the stack has the actual state")
}

// endedServer makes an update fail and shuts its server down, as an unclaimed server does an hour after its boot.
func endedServer(t *testing.T, broken *project) {
	exits := slices.IndexFunc(brokenServers(), func(c brokenServer) bool { return c.name == "a container that exits" })
	breakServer(t, broken, brokenServers()[exits])
	serving, _ := broken.served(t)
	names := strings.Fields(broken.must(t, time.Minute,
		"docker", "ps", "--format", "{{.Names}}", "--filter", "name=web-i-"))
	names = slices.DeleteFunc(names, func(name string) bool { return strings.HasSuffix(name, serving) })
	require.Len(t, names, 1)
	broken.must(t, time.Minute, "docker", "stop", names[0])
}

// lineOf returns the first line of a command's output that matches, which must exist.
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

// diagnostics returns the diagnostics at the end of a failed update's output.
func diagnostics(t *testing.T, up result) string {
	t.Helper()
	_, text, found := strings.Cut(up.stdout+up.stderr, "\nDiagnostics:\n")
	require.True(t, found, up.String())
	return text
}

// lateServer repeats the update whose server was late. The update continues with that server once it is ready.
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

// warnedServer creates a server whose cloud-init ends with a warning about an unknown key.
func warnedServer(t *testing.T, p, broken *project) {
	before := p.outputs(t)
	broken.declare(t, func(c cloudConfig) { c["no_such_key"] = true })

	visitors := broken.visit(t)
	up := broken.pulumiUp(t)
	cut := visitors.seen(t).unharmed(t)
	require.NoError(t, up.err, up.String())
	require.NotEqual(t, before.ServerID, broken.outputs(t).ServerID)
	t.Logf("the update took %.0f s: %s; requests cut by the move of the VIP: %d", up.took.Seconds(),
		lineOf(t, up.String(), `failed schema validation`), cut)
	require.Equal(t, "2\n", p.ssh(t, "cloud-init status >/dev/null; echo $?").stdout)
	broken.converged(t)
}

// deafServer replaces a server on which the agent does not listen for its successor.
func deafServer(t *testing.T, p, broken *project) {
	before := p.outputs(t)
	stopped := p.ssh(t, "sudo systemctl stop agent-watch.service")
	require.NoError(t, stopped.err, stopped.String())
	broken.set(t, "generation", 2000)

	visitors := broken.visit(t)
	up := broken.pulumiUp(t)
	cut := visitors.seen(t).unharmed(t)
	require.NoError(t, up.err, up.String())
	t.Logf("after %.0f s: %s; requests cut by the move of the VIP: %d", up.took.Seconds(),
		lineOf(t, up.String(), before.ServerID+` did not answer within 30s`), cut)
	require.NotEqual(t, before.ServerID, broken.outputs(t).ServerID)
	broken.converged(t)
}
