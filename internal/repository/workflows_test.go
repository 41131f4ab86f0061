package repository

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// workflows returns the texts of the workflows and actions by path.
func workflows(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../../.github/workflows/*.yml", "../../.github/actions/*/action.yml"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, paths, pattern)
		for _, path := range paths {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			texts[path] = string(text)
		}
	}
	return texts
}

func TestThirdPartyActionsArePinnedToOneCommitEach(t *testing.T) {
	uses := regexp.MustCompile(`uses: (\S+)(.*)`)
	pinned := regexp.MustCompile(`^([\w./-]+)@([0-9a-f]{40})$`)
	commits, found := map[string]string{}, 0
	for path, text := range workflows(t) {
		for _, match := range uses.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(match[1], "./") {
				continue
			}
			action := pinned.FindStringSubmatch(match[1])
			require.NotNil(t, action, "%s: %s is not pinned to a commit", path, match[1])
			require.Regexp(t, `^ # v\d+\.\d+\.\d+$`, match[2], "%s: %s does not say which version it is", path, match[1])
			if other, ok := commits[action[1]]; ok {
				require.Equal(t, other, action[2], "%s: %s has another version elsewhere", path, action[1])
			}
			commits[action[1]] = action[2]
			found++
		}
	}
	require.Greater(t, found, 5)
}

// workflow holds the keys of a workflow that these tests check.
type workflow struct {
	On          any
	Permissions map[string]string
	Jobs        map[string]job
}

// job is a job in a workflow: steps, or a call of another workflow.
type job struct {
	If, Uses    string
	RunsOn      string `yaml:"runs-on"`
	Environment string
	Needs       any
	Permissions map[string]string
	Secrets     any
	Steps       []struct{ Uses, Run string }
}

// triggers returns the events that start a workflow, with their filters.
func (w workflow) triggers(t *testing.T) map[string]any {
	t.Helper()
	switch on := w.On.(type) {
	case string:
		return map[string]any{on: nil}
	case map[string]any:
		return on
	}
	require.Fail(t, "unknown form of triggers", "%#v", w.On)
	return nil
}

func parseWorkflow(t *testing.T, text string) workflow {
	t.Helper()
	var parsed workflow
	require.NoError(t, yaml.Unmarshal([]byte(text), &parsed), text)
	return parsed
}

// privileges matches the keys by which a workflow gets a role, a secret, or a self-hosted machine.
var privileges = regexp.MustCompile(`secrets[.:\[]|vars[.\[]|id-token|github\.token|GITHUB_TOKEN|` +
	`actions/setup\n|configure-aws-credentials|environment:|: write`)

func TestPullRequestsOfForksGetNoRoleAndNoSecret(t *testing.T) {
	var checked []string
	for path, text := range workflows(t) {
		require.NotContains(t, text, "pull_request_target",
			"%s: it would run untrusted code with the permissions of this repository", path)
		if filepath.Base(path) == "action.yml" {
			continue
		}
		workflow := parseWorkflow(t, text)
		if _, ok := workflow.triggers(t)["pull_request"]; !ok {
			continue
		}
		checked = append(checked, filepath.Base(path))
		if !privileges.MatchString(text) {
			// Code from forks may run here.
			require.Equal(t, map[string]string{"contents": "read"}, workflow.Permissions, path)
			for name, job := range workflow.Jobs {
				require.Regexp(t, `^ubuntu-[\d.]+$`, job.RunsOn, "%s: %s runs on a machine that GitHub does not discard", path,
					name)
			}
			continue
		}
		require.Contains(t, text, "\npermissions: {}\n", path)
		for name, job := range workflow.Jobs {
			if job.Needs == nil {
				require.Contains(t, job.If, "github.event.pull_request.head.repo.full_name == github.repository", "%s: %s", path,
					name)
			}
			for permission, level := range job.Permissions {
				if level != "write" || permission == "id-token" {
					continue
				}
				require.Len(t, job.Steps, 1, "%s: %s has write permission and runs more than one command", path, name)
				require.Empty(t, job.Steps[0].Uses, "%s: %s has write permission and might run the pull request's code", path, name)
			}
		}
	}
	require.ElementsMatch(t, []string{"check.yml", "preview.yml"}, checked)
}

func TestEveryPullRequestAndEveryDeployIsChecked(t *testing.T) {
	texts := workflows(t)
	check := parseWorkflow(t, texts["../../.github/workflows/check.yml"])
	for _, event := range []string{"pull_request", "workflow_call"} {
		filters, ok := check.triggers(t)[event]
		require.True(t, ok, event)
		require.Nil(t, filters, "%s: a filter would leave some unchecked", event)
	}
	require.Len(t, check.Jobs, 1)
	require.Empty(t, check.Jobs["check"].If)
	steps := check.Jobs["check"].Steps
	require.Equal(t, "exec ops/scripts/inert.sh make check", steps[len(steps)-1].Run)

	deploy := parseWorkflow(t, texts["../../.github/workflows/deploy.yml"])
	require.Equal(t, "./.github/workflows/check.yml", deploy.Jobs["check"].Uses)
	require.Nil(t, deploy.Jobs["check"].Secrets)
	require.Equal(t, map[string]string{"contents": "read"}, deploy.Jobs["check"].Permissions,
		"it would inherit the permission to assume a role")
	for name, job := range deploy.Jobs {
		if name == "check" {
			continue
		}
		require.Empty(t, job.If, "%s: a condition of its own may run it after a failed check", name)
		before := map[string]string{"test": "check", "production": "test"}[name]
		require.Equal(t, before, job.Needs, "%s is deployed before it is checked", name)
	}

	// Nothing else updates a stack.
	for path, text := range texts {
		if base := filepath.Base(path); base != "deploy.yml" && base != "up.yml" {
			require.NotRegexp(t, `workflows/up\.yml|make (deploy|promote)|pulumi up`, text, path)
		}
	}
}

// The trust policies in ops/access name these files, environments and branches.
func TestWorkflowsAreWhatTheirRolesTrust(t *testing.T) {
	trusted := map[string]string{
		"up.yml": "${{ inputs.stack }}", "preview.yml": "preview", // the environment
		"drift.yml": "", "rebuild.yml": "", "restore-drill.yml": "", // none: the branch is in the subject
	}
	for path, text := range workflows(t) {
		for name, job := range parseWorkflow(t, text).Jobs {
			for _, step := range job.Steps {
				getsRole := step.Uses == "./.github/actions/setup" ||
					strings.HasPrefix(step.Uses, "aws-actions/configure-aws-credentials@")
				if !getsRole {
					continue
				}
				environment, known := trusted[filepath.Base(path)]
				require.True(t, known, "%s: no role trusts %s; add one in ops/access", path, name)
				require.Equal(t, environment, job.Environment, "%s: the role of %s trusts another environment", path, name)
			}
		}
	}
	for file := range trusted {
		require.FileExists(t, "../../.github/workflows/"+file)
	}
	deploy := workflows(t)["../../.github/workflows/deploy.yml"]
	require.Equal(t, 2, strings.Count(deploy, "uses: ./.github/workflows/up.yml\n"),
		"job_workflow_ref would differ for a workflow at another ref")
	require.NotContains(t, deploy, "vars.DEPLOY_ROLE", "the variables of an environment are empty before its job starts")
}

// steps calls visit for each step of the workflows and actions.
func steps(t *testing.T, visit func(where, uses, run string)) {
	t.Helper()
	type step struct{ Uses, Run string }
	for path, text := range workflows(t) {
		var file struct {
			Jobs map[string]struct{ Steps []step }
			Runs struct{ Steps []step }
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &file), path)
		for name, job := range file.Jobs {
			for _, step := range job.Steps {
				visit(path+": "+name, step.Uses, step.Run)
			}
		}
		for _, step := range file.Runs.Steps {
			visit(path, step.Uses, step.Run)
		}
	}
}

func TestNoExpressionIsPastedIntoAShell(t *testing.T) {
	steps(t, func(where, _, run string) {
		require.NotContains(t, run, "${{", "%s: the title of a pull request could be a command; pass it in env", where)
	})
}

func TestDeploymentsUseNoArtifactsOfOtherJobs(t *testing.T) {
	steps(t, func(where, uses, _ string) {
		require.NotRegexp(t, `^actions/(?:upload-artifact|download-artifact|cache)`, uses,
			"%s: a job that runs a pull request's code could tamper with it", where)
	})
	up := workflows(t)["../../.github/workflows/up.yml"]
	require.NotContains(t, up, "needs:")
	require.NotContains(t, workflows(t)["../../.github/workflows/deploy.yml"], ".outputs.")
}

func TestOnlyDeploymentsRunOnASelfHostedRunner(t *testing.T) {
	runsOn := regexp.MustCompile(`runs-on: (.*)`)
	for path, text := range workflows(t) {
		for _, match := range runsOn.FindAllStringSubmatch(text, -1) {
			if filepath.Base(path) == "up.yml" {
				require.Equal(t, "${{ vars.DEPLOY_RUNNER || 'ubuntu-24.04' }}", match[1])
				continue
			}
			require.Equal(t, "ubuntu-24.04", match[1],
				"%s: a pull request could leave something on that machine for the next deployment", path)
		}
	}
}

func TestEveryMakeInAWorkflowRunsInert(t *testing.T) {
	found := 0
	steps(t, func(where, _, run string) {
		for line := range strings.Lines(run) {
			if strings.Contains(line, "make ") && !strings.Contains(line, "echo ") {
				require.True(t, strings.HasPrefix(strings.TrimSpace(line), "exec ops/scripts/inert.sh make "), "%s: %s", where,
					line)
				found++
			}
		}
	})
	require.Equal(t, 6, found)
}
