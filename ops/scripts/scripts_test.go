// Package scripts tests the shell scripts in its directory.
package scripts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
	"immutable-infra/internal/testtool"
)

// machine is a script's environment, with fake programs first on the PATH.
type machine struct {
	bin string
	env []string
	dir string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{bin: t.TempDir()}
	m.env = []string{"PATH=" + m.bin + ":" + os.Getenv("PATH")}
	return m
}

// program creates a fake program from a shell script.
func (m *machine) program(t *testing.T, name, script string) {
	t.Helper()
	testtool.WriteProgram(t, filepath.Join(m.bin, name), "#!/bin/sh\nset -e\n"+script+"\n")
}

// run runs a script of this directory.
func (m *machine) run(t *testing.T, script string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	path, err := filepath.Abs(script)
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), path, args...)
	command.Dir, command.Env = m.dir, append(os.Environ(), m.env...)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	err = command.Run()
	return out.String(), errors.String(), err
}

// deployedStack returns a machine whose fake Pulumi has a stack production. Its site answers as server i-1 with release
// r-1, and has a certificate for a name.
func deployedStack(t *testing.T, certificate string, outputs map[string]any) *machine {
	t.Helper()
	site := testsite.Start(t, certificate, testsite.Serving("i-1", "r-1"))
	m := newMachine(t)
	outputs["vip"] = site.Address.Addr().String()
	encoded, err := json.Marshal(outputs)
	require.NoError(t, err)
	m.program(t, "pulumi", fmt.Sprintf(`case "$*" in
"stack output --json --non-interactive --stack production") echo '%s';;
"config --json --non-interactive --stack production")
  echo '{"immutable-infra:acmeCA": {"value": "%s", "secret": false}}';;
*) echo "error: no stack named so: $*" >&2; exit 255;;
esac`, encoded, site.Roots))
	// smoke.sh must not need a proxy or these programs: the proxy does not answer, and the programs fail.
	m.program(t, "getent", "exit 1")
	m.program(t, "curl", "exit 1")
	m.env = append(m.env, "PORT=1", "SMOKE_PORT="+strconv.Itoa(int(site.Address.Port())), "WITHIN=0",
		"https_proxy=http://127.0.0.1:9", "HTTPS_PROXY=http://127.0.0.1:9")
	return m
}

func TestSmokeTestChecksTheServerAndTheReleaseOfTheLastUpdate(t *testing.T) {
	m := deployedStack(t, "localhost", map[string]any{"url": "https://localhost/", "serverId": "i-1", "release": "r-1"})
	stdout, stderr, err := m.run(t, "smoke.sh", "production")
	require.NoError(t, err, stderr)
	require.Equal(t, "https://localhost/ is served at 127.0.0.1 by i-1 with release r-1\n", stdout)
	require.Empty(t, stderr)
}

func TestSmokeTestErrorNamesTheMismatch(t *testing.T) {
	good := func(change string, value any) map[string]any {
		outputs := map[string]any{"url": "https://localhost/", "serverId": "i-1", "release": "r-1"}
		outputs[change] = value
		return outputs
	}
	for name, test := range map[string]struct {
		outputs map[string]any
		stack   string
		message string
	}{
		"another server": {good("serverId", "i-2"), "production",
			`/.well-known/server: expected i-2, got 200: {"server":"i-1"}`},
		"another release": {good("release", "r-2"), "production",
			`/.well-known/release: expected r-2, got 200: {"release": "r-1"}`},
		"never deployed":   {good("serverId", nil), "production", "stack production has no output serverId"},
		"no such stack":    {good("url", "https://localhost/"), "staging", "cannot read the outputs of stack staging"},
		"no stack at all":  {good("url", "https://localhost/"), "", "no stack given; run: make smoke STACK=production"},
		"no release known": {good("release", ""), "production", "stack production has no output release"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := deployedStack(t, "localhost", test.outputs).run(t, "smoke.sh", test.stack)
			require.Error(t, err, stdout)
			require.Contains(t, stderr, test.message)
		})
	}
	m := deployedStack(t, "localhost", good("url", "https://localhost/"))
	m.env = append(m.env, "WITHIN=soon")
	_, stderr, err := m.run(t, "smoke.sh", "production")
	require.Error(t, err)
	require.Contains(t, stderr, `WITHIN is "soon": give seconds`)

	stdout, stderr, err := deployedStack(t, "example.com", good("url", "https://localhost/")).run(t, "smoke.sh",
		"production")
	require.Error(t, err, "a certificate for another name: %s", stdout)
	require.Contains(t, stderr, "certificate is valid for example.com, not localhost")
}

// macOS has neither dpkg-query nor apt-get.
func TestRequiredToolsAreFoundWithoutDebianPackages(t *testing.T) {
	m := newMachine(t)
	m.env = []string{"PATH=" + m.bin}
	for _, name := range []string{"bash", "id"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(m.bin, name)))
	}
	m.program(t, "jq", "")
	_, stderr, err := m.run(t, "need.sh", "jq")
	require.NoError(t, err, stderr)
	_, stderr, err = m.run(t, "need.sh", "jq", "rclone")
	require.Error(t, err)
	require.Contains(t, stderr, "please install: rclone (on Debian")
}

func TestPreviewIsAValidGitHubComment(t *testing.T) {
	m := newMachine(t)
	m.program(t, "pulumi", "echo \"$*\"; echo '  + aws:ec2/instance:Instance: (replace)'; echo 'Resources: +1 ```` é'")
	stdout, stderr, err := m.run(t, "preview.sh", "production", "--expect-no-changes")
	require.NoError(t, err, stderr)
	require.True(t, strings.HasPrefix(stdout, "### What an update of `production` would do\n"), stdout)
	require.Contains(t, stdout,
		"\n```````diff\npreview --stack production --diff --refresh --non-interactive --color never --suppress-progress "+
			"--expect-no-changes\n")
	require.True(t, strings.HasSuffix(stdout, "Resources: +1 ```` é\n```````\n"),
		"the fence is longer than any in the output: %s", stdout)
	require.Contains(t, stderr, "Resources: +1", "the log also has the output")

	m.program(t, "pulumi", `
i=0; while [ $i -lt 9000 ]; do echo "~ é property $i"; i=$((i+1)); done; echo "Resources: 9000"`)
	stdout, stderr, err = m.run(t, "preview.sh", "production")
	require.NoError(t, err)
	require.Greater(t, len(stderr), 1<<16)
	require.Less(t, len(stdout), 1<<16)
	require.Greater(t, len(stdout), 1<<15)
	require.Contains(t, stdout, "~ é property 0\n")
	require.Contains(t, stdout, "\n[...]\n")
	require.Contains(t, stdout, "~ é property 8999\nResources: 9000\n```\n")
	require.Contains(t, stdout, "The middle is cut")
	require.True(t, strings.ToValidUTF8(stdout, "") == stdout)
}

func TestFailedPreviewIsShownAndFails(t *testing.T) {
	m := newMachine(t)
	m.program(t, "pulumi", "echo 'error: no changes were expected but changes were proposed' >&2; exit 4")
	stdout, _, err := m.run(t, "preview.sh", "production")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 4, exit.ExitCode())
	require.Contains(t, stdout, "### The preview of `production` failed\n")
	require.Contains(t, stdout, "error: no changes were expected but changes were proposed\n```\n")

	_, stderr, err := m.run(t, "preview.sh")
	require.Error(t, err)
	require.Contains(t, stderr, "no stack given")
}

// repository returns a machine with a clone on the branch main and a fake gh that records its calls.
func repository(t *testing.T) (m *machine, origin, calls string) {
	t.Helper()
	m = newMachine(t)
	origin, m.dir, calls = t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "calls")
	m.env = append(m.env, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_CONFIG_GLOBAL=/dev/null", "CALLS="+calls)
	m.git(t, "init", "--quiet", "--bare", origin)
	m.git(t, "init", "--quiet", "--initial-branch", "main")
	m.git(t, "remote", "add", "origin", origin)
	m.write(t, "1")
	m.git(t, "add", ".")
	m.git(t, "commit", "--quiet", "--message", "first")
	m.git(t, "push", "--quiet", "origin", "main")
	m.program(t, "gh", `echo "$*" >>"$CALLS"; if [ "$1 $2" = "pr list" ]; then printf '%s' "$OPEN"; fi`)
	return m, origin, calls
}

func (m *machine) git(t *testing.T, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", args...)
	command.Dir, command.Env = m.dir, append(os.Environ(), m.env...)
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	return strings.TrimSpace(string(output))
}

func (m *machine) write(t *testing.T, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "file"), []byte(content), 0o644))
}

func (m *machine) propose(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	return m.run(t, "propose.sh", "rebuild", "Rebuild it", "/tmp/body.md")
}

func TestChangesUpdateASinglePullRequest(t *testing.T) {
	m, origin, calls := repository(t)
	read := func() string {
		content, err := os.ReadFile(calls)
		require.NoError(t, err)
		return string(content)
	}
	m.write(t, "2")
	_, stderr, err := m.propose(t)
	require.NoError(t, err, stderr)
	require.Equal(t, "2", m.git(t, "--git-dir", origin, "show", "rebuild:file"))
	require.Equal(t, "1", m.git(t, "--git-dir", origin, "show", "main:file"))
	require.Equal(t, "auth setup-git\npr list --head rebuild --base main --state open --json number --jq .[].number\n"+
		"pr create --head rebuild --base main --title Rebuild it --body-file /tmp/body.md\n", read())

	// A week later, main has another commit, and the first proposal is still open.
	require.NoError(t, os.Remove(calls))
	m.git(t, "switch", "--quiet", "main")
	m.write(t, "3")
	m.env = append(m.env, "OPEN=42")
	_, stderr, err = m.propose(t)
	require.NoError(t, err, stderr)
	require.Equal(t, "3", m.git(t, "--git-dir", origin, "show", "rebuild:file"))
	require.Equal(t, "2", m.git(t, "--git-dir", origin, "rev-list", "--count", "rebuild"), "one commit on top of main")
	require.True(t, strings.HasSuffix(read(), "pr edit 42 --title Rebuild it --body-file /tmp/body.md\n"), read())
}

func TestWithoutChangesNothingIsProposed(t *testing.T) {
	m, origin, calls := repository(t)
	stdout, stderr, err := m.propose(t)
	require.NoError(t, err, stderr)
	require.Contains(t, stdout, "nothing is proposed")
	require.NoFileExists(t, calls)
	require.Equal(t, "main", m.git(t, "--git-dir", origin, "branch", "--format", "%(refname:short)"))

	m.write(t, "2")
	m.git(t, "switch", "--quiet", "--detach")
	_, stderr, err = m.propose(t)
	require.Error(t, err)
	require.Contains(t, stderr, "the checkout is on no branch")
}

func TestRebuildCanBeDeployedDirectly(t *testing.T) {
	m, origin, calls := repository(t)
	stdout, stderr, err := m.run(t, "land.sh", "Rebuild it")
	require.NoError(t, err, stderr)
	require.Contains(t, stdout, "nothing is deployed")
	require.NoFileExists(t, calls)

	m.write(t, "2")
	_, stderr, err = m.run(t, "land.sh", "Rebuild it")
	require.NoError(t, err, stderr)
	require.Equal(t, "2", m.git(t, "--git-dir", origin, "show", "main:file"))
	require.Equal(t, "Rebuild it", m.git(t, "--git-dir", origin, "log", "-1", "--format=%s", "main"))
	content, err := os.ReadFile(calls)
	require.NoError(t, err)
	require.Equal(t, "auth setup-git\nworkflow run deploy.yml --ref main\n", string(content))

	// After another push to main, nothing is forced and nothing is deployed.
	require.NoError(t, os.Remove(calls))
	m.git(t, "reset", "--quiet", "--hard", "HEAD~1")
	m.write(t, "3")
	_, _, err = m.run(t, "land.sh", "Rebuild it")
	require.Error(t, err)
	require.Equal(t, "2", m.git(t, "--git-dir", origin, "show", "main:file"))
	content, err = os.ReadFile(calls)
	require.NoError(t, err)
	require.NotContains(t, string(content), "workflow run")
}

// checkout returns a machine with a checkout that has two stacks. Its fake Pulumi records its command lines and fails
// for those that match FAILS.
func checkout(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.dir = t.TempDir()
	for _, script := range []string{"deploy.sh", "promote.sh", "checkout.sh"} {
		content, err := os.ReadFile(script)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Join(m.dir, "ops", "scripts"), 0o755))
		testtool.WriteProgram(t, filepath.Join(m.dir, "ops", "scripts", script), string(content))
	}
	calls := filepath.Join(m.bin, "calls")
	smoke := fmt.Sprintf("#!/bin/sh\necho \"smoke $1\" >>%[1]s\ncase \"smoke $1\" in $FAILS) exit 1;; esac\n", calls)
	testtool.WriteProgram(t, filepath.Join(m.dir, "ops", "scripts", "smoke.sh"), smoke)
	m.program(t, "pulumi", fmt.Sprintf("echo \"$*\" >>%[1]s\ncase \"$*\" in $FAILS) exit 1;; esac", calls))
	for _, stack := range []string{"test", "production"} {
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, "Pulumi."+stack+".yaml"), []byte("config: {}\n"), 0o644))
	}
	commit := []string{"-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--message", "all of it"}
	for _, git := range [][]string{{"init", "--quiet"}, {"add", "--all"}, commit} {
		command := exec.CommandContext(t.Context(), "git", git...)
		command.Dir = m.dir
		out, err := command.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	return m
}

// calls returns the command lines of Pulumi and the smoke test.
func (m *machine) calls(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(m.bin, "calls"))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

// deployCalls returns the command lines of a stack's deployment.
func deployCalls(stack string) []string {
	return []string{
		"up --stack " + stack + " --yes --non-interactive",
		"smoke " + stack,
		"preview --stack " + stack + " --expect-no-changes --non-interactive --diff --suppress-progress",
	}
}

func TestPromotionDeploysTestThenProduction(t *testing.T) {
	m := checkout(t)
	stdout, stderr, err := m.run(t, filepath.Join(m.dir, "ops", "scripts", "promote.sh"))
	require.NoError(t, err, stderr)
	test := deployCalls("test")
	test[0] += " --yes"
	require.Equal(t, append(test, deployCalls("production")...), m.calls(t))
	require.Contains(t, stdout, `"all of it": test, then production`)
	require.Contains(t, stdout, "production: check that no change is left: done in ")
	require.Contains(t, stdout, " is on test and production\n")
}

func TestPromotionStopsAtTheFirstFailure(t *testing.T) {
	for name, test := range map[string]struct {
		fails   string
		steps   int
		message string
	}{
		"the update of test":            {"*up*test*", 1, "cannot deploy to test; production was not touched"},
		"the smoke test of test":        {"*smoke*test*", 2, "cannot deploy to test; production was not touched"},
		"pending changes in test":       {"*preview*test*", 3, "cannot deploy to test; production was not touched"},
		"the update of production":      {"*up*production*", 4, "make rollback STACK=production"},
		"the smoke test of production":  {"*smoke*production*", 5, "make rollback STACK=production"},
		"pending changes in production": {"*preview*production*", 6, "make rollback STACK=production"},
	} {
		t.Run(name, func(t *testing.T) {
			m := checkout(t)
			m.env = append(m.env, "FAILS="+test.fails)
			_, stderr, err := m.run(t, filepath.Join(m.dir, "ops", "scripts", "promote.sh"))
			require.Error(t, err)
			require.Len(t, m.calls(t), test.steps)
			require.Contains(t, stderr, ": failed after ")
			require.Contains(t, stderr, test.message)
		})
	}
}

func TestSSHIsOpenToTheDeployingMachineOnlyDuringTheUpdate(t *testing.T) {
	const update, closeSSH = "up --stack test --yes --non-interactive", "up --stack test --yes --non-interactive " +
		"--skip-preview --message shut out of SSH --target **::network-runner-ssh"
	smoke, preview := deployCalls("test")[1], deployCalls("test")[2]
	for name, test := range map[string]struct {
		config, preset, fails string
		calls                 []string // each with the address in SSH_FROM
		message               string
	}{
		"its public address": {"true", "", "",
			[]string{update + " from=203.0.113.7/32", closeSSH + " from=", smoke, preview + " from="}, ""},
		"a value that Pulumi quoted": {`"true"`, "", "",
			[]string{update + " from=203.0.113.7/32", closeSSH + " from=", smoke, preview + " from="}, ""},
		"an address in SSH_FROM": {"true", "198.51.100.9/32", "",
			[]string{update + " from=198.51.100.9/32", closeSSH + " from=", smoke, preview + " from="}, ""},
		"the update fails": {"true", "", "*interactive", []string{update + " from=203.0.113.7/32", closeSSH + " from="},
			"failed after"},
		"SSH cannot be closed": {"true", "", "*target*", []string{update + " from=203.0.113.7/32", closeSSH + " from="},
			"SSH may still be open to this machine"},
		"no known address": {"true", "", "curl", nil, "set SSH_FROM"},
		"not configured":   {"false", "198.51.100.9/32", "", []string{update + " from=", smoke, preview + " from="}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := checkout(t)
			require.NoError(t, os.WriteFile(filepath.Join(m.dir, "Pulumi.test.yaml"),
				[]byte("config:\n  immutable-infra:sshFromRunner: "+test.config+"\n"), 0o644))
			m.program(t, "pulumi", fmt.Sprintf("echo \"$* from=$SSH_FROM\" >>%s\ncase \"$*\" in $FAILS) exit 1;; esac",
				filepath.Join(m.bin, "calls")))
			m.program(t, "curl", `case curl in $FAILS) exit 6;; esac
case "$*" in *https://checkip.amazonaws.com) echo 203.0.113.7;; esac`)
			m.env = append(m.env, "FAILS="+test.fails, "SSH_FROM="+test.preset)
			_, stderr, err := m.run(t, filepath.Join(m.dir, "ops", "scripts", "deploy.sh"), "test")
			require.Equal(t, test.message != "", err != nil, stderr)
			require.Contains(t, stderr, test.message)
			require.Equal(t, test.calls, m.calls(t))
		})
	}
}

func TestTerminatedDeploymentClosesSSHAgain(t *testing.T) {
	m := checkout(t)
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "Pulumi.test.yaml"),
		[]byte("config:\n  immutable-infra:sshFromRunner: true\n"), 0o644))
	// A canceled job signals the script. Pulumi exits on its own.
	m.program(t, "pulumi", fmt.Sprintf("echo \"$* $SSH_FROM\" >>%s\ncase \"$*\" in *target*) ;; *) kill -TERM "+
		"$PPID;; esac", filepath.Join(m.bin, "calls")))
	m.env = append(m.env, "SSH_FROM=198.51.100.9/32")
	_, _, err := m.run(t, filepath.Join(m.dir, "ops", "scripts", "deploy.sh"), "test")
	require.Error(t, err)
	require.Len(t, m.calls(t), 2)
	require.Contains(t, m.calls(t)[1], "--target **::network-runner-ssh")
}

func TestOnlyCommittedChangesArePromoted(t *testing.T) {
	m := checkout(t)
	promote := filepath.Join(m.dir, "ops", "scripts", "promote.sh")
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, "new"), nil, 0o644))
	_, stderr, err := m.run(t, promote)
	require.Error(t, err)
	require.Contains(t, stderr, "uncommitted changes; commit them")
	require.Contains(t, stderr, "?? new")
	require.NoError(t, os.Remove(filepath.Join(m.dir, "new")))

	// A file changes during the deployment to test.
	m.program(t, "pulumi", fmt.Sprintf("echo \"$*\" >>%s; touch %s", filepath.Join(m.bin, "calls"),
		filepath.Join(m.dir, "new")))
	_, stderr, err = m.run(t, promote)
	require.Error(t, err)
	require.Contains(t, stderr, "the checkout changed during the deployment to test")
	require.Len(t, m.calls(t), 3, "production was not touched")

	for _, args := range [][]string{{"test", "test"}, {"test", "produktion"}} {
		_, stderr, err = m.run(t, promote, args...)
		require.Error(t, err)
		require.Contains(t, stderr, "run: make promote FROM=test TO=production")
	}
}
