package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// robotAddress is the URL of the UptimeRobot double, and robotKey the API key of its account.
	robotAddress = "https://198.18.0.8"
	robotKey     = "u1000001-10ca1c10bd00000000000001"
	// robotHeartbeat is the token in the URL of the heartbeat monitor.
	robotHeartbeat = "m800000001-10ca1c10bd00000000000001"
	// robotInterval is the time between two checks, as configured in the local stack.
	robotInterval = 30 * time.Second
)

// robot is the state of the UptimeRobot double.
type robot struct {
	Monitors []struct {
		ID                        int64
		Name, URL, Status, Reason string
		Checks                    int
	}
	Heartbeats []struct {
		ID     int64
		Status string
		Beats  int
	}
	Integrations []string
	Pages        []struct {
		ID           int64
		Name, Domain string
		Monitors     []int64
	}
	Created, Changed, Deleted map[string]int
	Notices                   []struct{ Monitor, Type, Details, Error string }
}

func (p *project) robot(t *testing.T) robot {
	t.Helper()
	answer := p.must(t, time.Minute, "curl", "-sS", "--cacert", filepath.Join(p.home(), "tls", "ca.pem"),
		robotAddress+"/localcloud/state")
	var state robot
	require.NoError(t, json.Unmarshal([]byte(answer), &state), answer)
	return state
}

// asRobotsOwner sends a request to the API as the account's owner would by hand, and returns the response.
func (p *project) asRobotsOwner(t *testing.T, method, path string, body ...string) string {
	t.Helper()
	args := []string{"-sS", "--fail", "--cacert", filepath.Join(p.home(), "tls", "ca.pem"),
		"-X", method, "-H", "Authorization: Bearer " + robotKey, robotAddress + "/v3" + path}
	for _, text := range body {
		args = append(args, "-H", "Content-Type: application/json", "--data", text)
	}
	return p.must(t, time.Minute, "curl", args...)
}

// watched requires that UptimeRobot has every resource once and that the site is up.
func (p *project) watched(t *testing.T) robot {
	t.Helper()
	state := p.robot(t)
	require.Len(t, state.Monitors, 1, "Grafana does not run here and is therefore not monitored")
	require.Equal(t, siteURL+"/.well-known/release", state.Monitors[0].URL)
	require.Len(t, state.Integrations, 1)
	require.Len(t, state.Pages, 1)
	require.Equal(t, "status."+siteName, state.Pages[0].Domain)
	require.Equal(t, []int64{state.Monitors[0].ID}, state.Pages[0].Monitors)
	eventually(t, 2*robotInterval, func() (bool, string) {
		monitor := p.robot(t).Monitors[0]
		return monitor.Status == "UP", monitor.Status + " " + monitor.Reason
	})
	return state
}

// incidents returns the types of UptimeRobot's messages to VictorOps, in order.
func (p *project) incidents(t *testing.T) []string {
	t.Helper()
	return p.victorOpsMessages(t, func(alert alert) bool { return strings.HasPrefix(alert.EntityID, "uptimerobot/") })
}

// watchedFromOutside requires that every resource was created once, that another update changes nothing, and that no
// secret is visible.
func watchedFromOutside(t *testing.T, p *project) {
	before := p.watched(t)
	if len(before.Deleted) == 0 { // otherwise, the test has already run on this local cloud
		require.Equal(t, map[string]int{"/monitors": 1, "/integrations": 1, "/psps": 1}, before.Created)
	}
	again := p.pulumiUp(t, "--expect-no-changes")
	require.NoError(t, again.err, again.String())
	after := p.robot(t)
	require.Equal(t, before.Created, after.Created)
	require.Equal(t, before.Changed, after.Changed)
	require.Equal(t, before.Deleted, after.Deleted)
	require.Empty(t, noSecrets(t, p, again.String()))
}

// noSecrets lists the outputs and Pulumi's files that contain a secret in plain text.
func noSecrets(t *testing.T, p *project, printed ...string) []string {
	t.Helper()
	// These are the secrets as in UptimeRobot's configuration, without the text around them.
	secrets := []string{robotKey, robotHeartbeat, "/integrations/uptimerobot/20131114/alert/"}
	var found []string
	search := func(where, text string) {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				found = append(found, where)
			}
		}
	}
	for i, text := range printed {
		search(fmt.Sprintf("output %d", i), text)
	}
	search("the state", p.must(t, time.Minute, "pulumi", "stack", "export", "--stack", "local"))
	for _, dir := range []string{filepath.Join("s3", "data", stateBucket), "pulumi"} {
		err := filepath.WalkDir(filepath.Join(p.home(), dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() ||
				!slices.Contains([]string{".json", ".log", ".bak", ".yaml", ""}, filepath.Ext(path)) {
				return err
			}
			info, err := entry.Info()
			if err != nil || info.Mode()&0o111 != 0 {
				return err // a plugin
			}
			content, err := os.ReadFile(path)
			search(path, string(content))
			return err
		})
		require.NoError(t, err)
	}
	return found
}

// renamedInPlace renames all resources by hand and requires that an update restores the names in place.
func renamedInPlace(t *testing.T, p *project) {
	before := p.watched(t)
	var integrations struct{ Data []struct{ ID int64 } }
	require.NoError(t, json.Unmarshal([]byte(p.asRobotsOwner(t, "GET", "/integrations")), &integrations))
	require.Len(t, integrations.Data, 1)
	rename := func(kind string, id int64, body string, args ...any) {
		p.asRobotsOwner(t, "PATCH", fmt.Sprintf("/%s/%d", kind, id), fmt.Sprintf(body, args...))
	}
	rename("monitors", before.Monitors[0].ID, `{"friendlyName": %q}`, siteName+" & more")
	rename("psps", before.Pages[0].ID, `{"friendlyName": "The site"}`)
	rename("integrations", integrations.Data[0].ID, `{"type": "Webhook", "data": {"friendlyName": %q}}`,
		"On-Call: "+siteName)
	renamed := p.robot(t)
	require.Equal(t, siteName+" & more", renamed.Monitors[0].Name)
	require.Equal(t, "The site", renamed.Pages[0].Name)
	require.Equal(t, []string{"On-Call: " + siteName}, renamed.Integrations)

	up := p.pulumiUp(t)
	require.NoError(t, up.err, up.String())
	after := p.watched(t)
	require.Equal(t, before.Created, after.Created, "nothing was created again")
	require.Equal(t, before.Deleted, after.Deleted)
	require.Equal(t, siteName, after.Monitors[0].Name)
	require.Equal(t, before.Monitors[0].ID, after.Monitors[0].ID)
	require.Equal(t, before.Pages[0].Name, after.Pages[0].Name)
	require.Equal(t, before.Pages[0].ID, after.Pages[0].ID)
	require.Equal(t, before.Integrations, after.Integrations)
	require.Empty(t, noSecrets(t, p, up.String()))
	p.converged(t)
}

// recreateMonitor deletes a monitor by hand and requires that the next update creates it again and the one after that
// changes nothing.
func recreateMonitor(t *testing.T, p *project) {
	before := p.watched(t)
	p.asRobotsOwner(t, "DELETE", fmt.Sprintf("/monitors/%d", before.Monitors[0].ID))
	require.Empty(t, p.robot(t).Monitors)
	preview := p.run(t, 5*time.Minute, "pulumi", "preview", "--diff", "--stack", "local", "--non-interactive")
	require.NoError(t, preview.err, preview.String())
	require.Contains(t, preview.stdout, "there is no monitor", "a preview reports the missing monitor")
	require.Empty(t, p.robot(t).Monitors, "a preview creates nothing")

	up := p.pulumiUp(t)
	require.NoError(t, up.err, up.String())
	after := p.watched(t)
	require.NotEqual(t, before.Monitors[0].ID, after.Monitors[0].ID)
	require.Equal(t, before.Pages[0].ID, after.Pages[0].ID, "the page shows the new monitor")
	p.converged(t)
}

// deleteMonitoring deletes the command for UptimeRobot and requires that this deletes all resources it created.
func deleteMonitoring(t *testing.T, p *project) {
	p.watched(t)
	urns := slices.DeleteFunc(slices.Collect(maps.Keys(p.resources(t))),
		func(urn string) bool { return !strings.HasSuffix(urn, "::uptime-robot") })
	require.Len(t, urns, 1)
	p.must(t, 5*time.Minute, "pulumi", "destroy", "--yes", "--skip-preview", "--stack", "local", "--target-dependents",
		"--target", urns[0])
	state := p.robot(t)
	require.Empty(t, state.Monitors)
	require.Empty(t, state.Integrations)
	require.Empty(t, state.Pages)
	up := p.pulumiUp(t)
	require.NoError(t, up.err, up.String())
	p.watched(t)
	p.converged(t)
}

// outageIsSeen stops the web server and starts it again, and requires that UptimeRobot notifies VictorOps of both.
func outageIsSeen(t *testing.T, p *project) {
	p.watched(t)
	before := p.incidents(t)
	messages := func() []string { return p.incidents(t)[len(before):] }
	// This covers the next check and those that confirm its result.
	limit := robotInterval + 10*time.Second
	defer p.web(t, "start")
	p.web(t, "stop")
	down := eventually(t, limit, func() (bool, string) {
		return slices.Equal(messages(), []string{"CRITICAL"}), fmt.Sprint(messages())
	})
	require.Equal(t, "DOWN", p.robot(t).Monitors[0].Status)
	p.web(t, "start")
	over := eventually(t, limit, func() (bool, string) {
		return slices.Equal(messages(), []string{"CRITICAL", "RECOVERY"}), fmt.Sprint(messages())
	})
	t.Logf("VictorOps received CRITICAL from UptimeRobot %.0f s after the web server was stopped, and RECOVERY %.0f s "+
		"after it was started", down.Seconds(), over.Seconds())
	for _, notice := range p.robot(t).Notices {
		require.Empty(t, notice.Error)
	}
	ready := p.ssh(t, "sudo agent ready --wait 1m")
	require.NoError(t, ready.err, ready.String())
}

// heartbeatStops stops Alertmanager, which none of the server's own alerts can report, and starts it again.
func heartbeatStops(t *testing.T, p *project) {
	p.watched(t)
	awaitBeats := func(beats int) time.Duration {
		t.Helper()
		before := p.robot(t).Heartbeats[0].Beats
		return eventually(t, 4*time.Minute, func() (bool, string) {
			heartbeat := p.robot(t).Heartbeats[0]
			return heartbeat.Status == "UP" && heartbeat.Beats >= before+beats,
				fmt.Sprintf("%s with %d heartbeats after %d", heartbeat.Status, heartbeat.Beats, before)
		})
	}
	awaitBeats(2) // a single one might not be repeated

	// As docs/uptime.md describes, the heartbeat monitor is made to notify VictorOps by hand.
	var integrations struct{ Data []struct{ ID int64 } }
	require.NoError(t, json.Unmarshal([]byte(p.asRobotsOwner(t, "GET", "/integrations")), &integrations))
	require.Len(t, integrations.Data, 1)
	monitor := fmt.Sprintf("/monitors/%d", p.robot(t).Heartbeats[0].ID)
	p.asRobotsOwner(t, "PATCH", monitor, fmt.Sprintf(
		`{"assignedAlertContacts": [{"alertContactId": "%d", "threshold": 0, "recurrence": 0}]}`, integrations.Data[0].ID))
	// Later tests replace and break servers, which must not notify VictorOps.
	defer p.asRobotsOwner(t, "PATCH", monitor, `{"assignedAlertContacts": []}`)

	before := p.incidents(t)
	messages := func() []string { return p.incidents(t)[len(before):] }
	alertmanager := func(command string) {
		t.Helper()
		done := p.ssh(t, "sudo docker compose --project-directory /opt/site "+command+" alertmanager")
		require.NoError(t, done.err, done.String())
	}
	defer alertmanager("start")
	alertmanager("stop")
	missed := eventually(t, 4*time.Minute, func() (bool, string) {
		return slices.Equal(messages(), []string{"CRITICAL"}), fmt.Sprint(messages())
	})
	require.Equal(t, "DOWN", p.robot(t).Heartbeats[0].Status)
	require.Equal(t, "UP", p.robot(t).Monitors[0].Status, "the site is still served")
	alertmanager("start")
	back := eventually(t, 4*time.Minute, func() (bool, string) {
		return slices.Equal(messages(), []string{"CRITICAL", "RECOVERY"}), fmt.Sprint(messages())
	})
	awaitBeats(1)
	t.Logf("VictorOps received CRITICAL from UptimeRobot %.0f s after Alertmanager was stopped, and RECOVERY %.0f s "+
		"after it was started", missed.Seconds(), back.Seconds())
	ready := p.ssh(t, "sudo agent ready --wait 1m")
	require.NoError(t, ready.err, ready.String())
}
