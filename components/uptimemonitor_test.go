package components

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

const robotKey = "u1234567-0123456789abcdef01234567"

// emptyAccount serves the API of UptimeRobot for an account without resources.
func emptyAccount(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+robotKey {
			http.Error(w, `{"message": "Unauthorized", "code": "003-005"}`, http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"data": [], "nextLink": null}`))
	}))
	t.Cleanup(server.Close)
	return server
}

func TestWarningIfNoAlertIsSentForOutages(t *testing.T) {
	require.Contains(t, (&UptimeMonitorArgs{}).alertWarning(), "Nothing probes the site from outside")
	require.Contains(t, (&UptimeMonitorArgs{Key: pulumi.String(robotKey)}).alertWarning(), "sends no alert of an outage")
	require.Empty(t,
		(&UptimeMonitorArgs{Key: pulumi.String(robotKey), Webhook: pulumi.String("https://alert.example/?")}).alertWarning())
}

func TestDriftIsDescribedAndFailedCheckIsAWarning(t *testing.T) {
	args := &UptimeMonitorArgs{
		Domain:   "example.org",
		Interval: 300,
		API:      emptyAccount(t).URL,
		Key:      pulumi.String(robotKey),
	}
	ignore := func(string) {}
	differences, err := args.findDrift(t.Context(), ignore)
	require.NoError(t, err)
	require.Equal(t, []string{`there is no monitor "example.org"`}, differences)

	const invalidKey = "u7654321-fedcba98765432100123456789"
	args.Key = pulumi.String(invalidKey)
	_, err = args.findDrift(t.Context(), ignore)
	require.ErrorContains(t, err, "UptimeRobot rejected the API key")
	require.NotContains(t, err.Error(), invalidKey)

	args.Key = nil
	args.API = "http://127.0.0.1:1"
	differences, err = args.findDrift(t.Context(), ignore)
	require.NoError(t, err, "without a key, no request is sent")
	require.Empty(t, differences)
}

func TestNameOfAWebHookFitsUptimeRobotsLimit(t *testing.T) {
	args := &UptimeMonitorArgs{
		Domain:  strings.Repeat("a", 60) + ".example.org",
		Webhook: pulumi.String("https://alert.example/?"),
	}
	require.Len(t, args.desired().Contact, 60)
}

func TestUptimeCommandCompilesTheClient(t *testing.T) {
	desired, err := json.Marshal((&UptimeMonitorArgs{Domain: "example.org", Interval: 300}).desired())
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), "bash", "-c", goRun("uptime", "read"))
	command.Dir = ".."
	command.Env = append(os.Environ(), "UPTIMEROBOT_API="+emptyAccount(t).URL, "UPTIMEROBOT_DESIRED="+string(desired))
	command.Stdin = strings.NewReader(`{"key": "` + robotKey + `"}`)
	output, err := command.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Equal(t, "there is no monitor \"example.org\"\n", string(output))
}
