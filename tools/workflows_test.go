package tools

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// workflows are the texts of GitHub's workflows and actions here, by path.
func workflows(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../.github/workflows/*.yml", "../.github/actions/*/action.yml"} {
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

func TestActionsOfOthersArePinnedToOneCommitEach(t *testing.T) {
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
				require.Equal(t, other, action[2], "%s: %s is of another version elsewhere", path, action[1])
			}
			commits[action[1]] = action[2]
			found++
		}
	}
	require.Greater(t, found, 5)
}

func TestPullRequestsOfForksGetNoRoleAndNoSecret(t *testing.T) {
	seen := false
	for path, text := range workflows(t) {
		require.NotContains(t, text, "pull_request_target", "%s: it would run the code of strangers with the rights of this repository", path)
		var workflow struct {
			On   any
			Jobs map[string]struct {
				If          string
				Needs       any
				Permissions map[string]string
				Steps       []struct{ Uses string }
			}
		}
		require.NoError(t, yaml.Unmarshal([]byte(text), &workflow), path)
		if workflow.On != "pull_request" {
			require.NotContains(t, text, "pull_request:", "%s: this test does not understand its trigger", path)
			continue
		}
		seen = true
		require.Contains(t, text, "\npermissions: {}\n", path)
		for name, job := range workflow.Jobs {
			if job.Needs == nil {
				require.Contains(t, job.If, "github.event.pull_request.head.repo.full_name == github.repository", "%s: %s", path, name)
			}
			for permission, level := range job.Permissions {
				if level != "write" || permission == "id-token" {
					continue
				}
				require.Len(t, job.Steps, 1, "%s: %s writes, and runs more than one command", path, name)
				require.Empty(t, job.Steps[0].Uses, "%s: %s writes, and might run the pull request's code", path, name)
			}
		}
	}
	require.True(t, seen)
}
