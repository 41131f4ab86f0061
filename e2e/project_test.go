// Package e2e uses the project as its users do: with make, pulumi, curl, a browser and OpenSSH's client, against the
// local cloud.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/engine"
)

// project is a checkout with the environment of its local cloud.
type project struct {
	dir string
	env []string
}

// outputs are the stack's outputs.
type outputs struct {
	URL           string `json:"url"`
	VIP           string `json:"vip"`
	ServerID      string `json:"serverId"`
	Release       string `json:"release"`
	ContentBucket string `json:"contentBucket"`
	BackupBucket  string `json:"backupBucket"`
	KnownHosts    string `json:"knownHosts"`
}

// root returns the checkout that contains the tests.
func root(t *testing.T) *project {
	t.Helper()
	dir, err := filepath.Abs("..")
	require.NoError(t, err)
	return &project{dir: dir, env: os.Environ()}
}

// home returns the local cloud's directory.
func (p *project) home() string { return filepath.Join(p.dir, ".localcloud") }

// loadEnv sets the variables of `eval "$(make -s env)"`.
func (p *project) loadEnv(t *testing.T) {
	t.Helper()
	p.env = p.environment(t, "")
}

// environment returns the environment with the variables of make env for a role; "" means an administrator.
func (p *project) environment(t *testing.T, role string) []string {
	t.Helper()
	variables := p.must(t, time.Minute, "bash", "-c", `variables=$(make -s env ROLE="$0") && eval "$variables" && env -0`,
		role)
	return strings.Split(strings.TrimRight(variables, "\x00"), "\x00")
}

// copy returns a second checkout of the same project on the same local cloud, in which a test can change files.
func (p *project) copy(t *testing.T) *project {
	t.Helper()
	return p.copyTo(t, t.TempDir())
}

// copyTo is like copy, but into an existing directory.
func (p *project) copyTo(t *testing.T, dir string) *project {
	t.Helper()
	files := p.run(t, time.Minute, "bash", "-c",
		`git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents --target-directory="$0"`, dir)
	require.NoError(t, files.err, files.String())
	for _, shared := range []string{".localcloud", ".build"} {
		require.NoError(t, os.Symlink(filepath.Join(p.dir, shared), filepath.Join(dir, shared)))
	}
	return &project{dir: dir, env: p.env}
}

func (p *project) commit(t *testing.T, message string) {
	t.Helper()
	p.must(t, time.Minute, "bash", "-c",
		`git init --quiet && git add --all && git -c user.name=e2e -c user.email=e2e@localhost commit --quiet --message "$0"`,
		message)
}

// replace replaces a text in a file of a copy until the test ends. The text must occur exactly once.
func (p *project) replace(t *testing.T, file, old, new string) {
	t.Helper()
	path := filepath.Join(p.dir, file)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(content), old), "%s should contain this exactly once: %s", file, old)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(content), old, new, 1)), 0o644))
	t.Cleanup(func() { require.NoError(t, os.WriteFile(path, content, 0o644)) })
}

// set changes a setting in the configuration of a copy until the test ends, whether or not it is already set.
func (p *project) set(t *testing.T, key string, value int) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(p.dir, "Pulumi.local.yaml"))
	require.NoError(t, err)
	line := regexp.MustCompile(`(?m)^  immutable-infra:` + regexp.QuoteMeta(key) + `:.*\n`).Find(content)
	if line != nil {
		p.replace(t, "Pulumi.local.yaml", string(line), "")
	}
	p.replace(t, "Pulumi.local.yaml", "\nconfig:\n", fmt.Sprintf("\nconfig:\n  immutable-infra:%s: %d\n", key, value))
}

type result struct {
	command        string
	stdout, stderr string
	err            error
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%s (%.1f s): %v\n%s\n%s", r.command, r.took.Seconds(), r.err, r.stdout, r.stderr)
}

// status returns the command's exit status, or -1 if it did not exit normally.
func (r result) status() int {
	var exit *exec.ExitError
	if r.err == nil {
		return 0
	}
	if errors.As(r.err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// run runs a command in the project. When the limit is reached, the command and all its processes are terminated.
func (p *project) run(t *testing.T, limit time.Duration, name string, args ...string) result {
	t.Helper()
	return p.runInput(t, limit, "", name, args...)
}

func (p *project) runInput(t *testing.T, limit time.Duration, input, name string, args ...string) result {
	t.Helper()
	// Commands that clean up after a test must run as well.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	// env looks the command up in the project's PATH.
	command := exec.CommandContext(ctx, "env", append([]string{name}, args...)...)
	command.Dir = p.dir
	command.Env = p.env
	command.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 30 * time.Second
	start := time.Now()
	err := command.Run()
	return result{
		command: name + " " + strings.Join(args, " "),
		stdout:  stdout.String(), stderr: stderr.String(), err: err, took: time.Since(start),
	}
}

// must runs a command that must succeed and returns its output.
func (p *project) must(t *testing.T, limit time.Duration, name string, args ...string) string {
	t.Helper()
	result := p.run(t, limit, name, args...)
	require.NoError(t, result.err, result.String())
	return result.stdout
}

// pulumiUp runs a plain update of the stack.
func (p *project) pulumiUp(t *testing.T, args ...string) result {
	t.Helper()
	return p.run(t, 15*time.Minute, "pulumi",
		append([]string{"up", "--yes", "--stack", "local", "--non-interactive"}, args...)...)
}

// pulumiUpFollowed runs a plain update and follows the engine's events.
func (p *project) pulumiUpFollowed(t *testing.T) (result, engine.Log) {
	t.Helper()
	// With a pipe instead of a log file, each event is read when it is written, and the update does not overwrite the
	// preview's events.
	path := filepath.Join(t.TempDir(), "events")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	events, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	defer events.Close()
	// The pipe does not reach its end while it has a writer.
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)

	var log engine.Log
	var followed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		log, followed = engine.Follow(events, time.Now)
		// If Follow failed, the engine must not block for lack of a reader.
		_, _ = io.Copy(io.Discard, events)
	}()
	// The flag is available only with this variable.
	debug := &project{dir: p.dir, env: append(slices.Clone(p.env), "PULUMI_DEBUG_COMMANDS=true")}
	up := debug.pulumiUp(t, "--event-log", path, "--color", "never")
	require.NoError(t, writer.Close())
	<-done
	require.NoError(t, followed)
	return up, log
}

// outputs returns the outputs of the stack local.
func (p *project) outputs(t *testing.T) outputs {
	t.Helper()
	return p.outputsOf(t, "local")
}

func (p *project) outputsOf(t *testing.T, stack string) outputs {
	t.Helper()
	var out outputs
	require.NoError(t,
		json.Unmarshal([]byte(p.must(t, time.Minute, "pulumi", "stack", "output", "--json", "--stack", stack)), &out))
	return out
}

// resources returns the resources of the stack local: their ids by URN.
func (p *project) resources(t *testing.T) map[string]string {
	t.Helper()
	return p.resourcesOf(t, "local")
}

func (p *project) resourcesOf(t *testing.T, stack string) map[string]string {
	t.Helper()
	var state struct {
		Deployment struct {
			Resources []struct{ URN, ID string }
		}
	}
	require.NoError(t,
		json.Unmarshal([]byte(p.must(t, time.Minute, "pulumi", "stack", "export", "--stack", stack)), &state))
	ids := map[string]string{}
	for _, resource := range state.Deployment.Resources {
		ids[resource.URN] = resource.ID
	}
	return ids
}

// container returns the id of a server's container.
func (p *project) container(t *testing.T, server string) string {
	t.Helper()
	id := strings.TrimSpace(p.must(t, time.Minute, "docker", "ps", "--quiet", "--filter", "name=web-"+server))
	require.NotEmpty(t, id, "server %s does not run", server)
	return id
}

// ssh runs a command on the server as an admin, with OpenSSH's client, which knows only the stack's CA and must not
// prompt.
func (p *project) ssh(t *testing.T, command string) result {
	t.Helper()
	return p.sshWith(t, nil, "admin", command)
}

func (p *project) sshWith(t *testing.T, options []string, user, command string) result {
	t.Helper()
	return p.run(t, 2*time.Minute, "ssh", append(p.sshArgs(t, p.outputs(t), options, user), command)...)
}

// sshArgs returns the arguments of OpenSSH's client without the command.
func (p *project) sshArgs(t *testing.T, out outputs, options []string, user string) []string {
	t.Helper()
	knownHosts := filepath.Join(t.TempDir(), "known_hosts")
	require.NoError(t, os.WriteFile(knownHosts, []byte(out.KnownHosts+"\n"), 0o600))
	args := append([]string{
		"-F", "none", "-p", "12222", "-i", filepath.Join(p.home(), "ssh", "id_ed25519"),
		"-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=" + knownHosts, "-o", "GlobalKnownHostsFile=none",
		"-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10",
	}, options...)
	return append(args, user+"@"+out.VIP)
}

// eventually waits for a condition and returns how long that took.
func eventually(t *testing.T, limit time.Duration, condition func() (ok bool, seen string)) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, seen := condition()
		if ok {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			require.Fail(t, fmt.Sprintf("not within %s", limit), seen)
		}
		<-tick.C
	}
}
