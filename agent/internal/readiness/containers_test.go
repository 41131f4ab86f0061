package readiness

import (
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/proc"
)

const (
	composeServices = "docker compose config --services"
	composePs       = "docker compose ps --all --format json"
)

// healthyWeb is a line of Compose 2.26, in full.
const healthyWeb = `{"Command":"\"nginx -g 'daemon of…\"","CreatedAt":"2026-11-23 04:10:02 +0000 UTC","ExitCode":0,"Health":"healthy","ID":"5b3f6d6a1c2e","Image":"site/nginx","Labels":"com.docker.compose.config-hash=1b2c,com.docker.compose.container-number=1,com.docker.compose.depends_on=,com.docker.compose.oneoff=False,com.docker.compose.project=site,com.docker.compose.service=web","LocalVolumes":"0","Mounts":"/srv/site","Name":"site-web-1","Names":"site-web-1","Networks":"site_default","Ports":"0.0.0.0:80-\u003e8080/tcp","Project":"site","Publishers":[{"URL":"0.0.0.0","TargetPort":8080,"PublishedPort":80,"Protocol":"tcp"}],"RunningFor":"8 seconds ago","Service":"web","Size":"0B","State":"running","Status":"Up 7 seconds (healthy)"}
`

func TestContainersPassWhenEachServiceIsHealthy(t *testing.T) {
	result := Containers{Project: "/opt/site", Runner: answers{
		composeServices: "web\nphp\n",
		composePs:       healthyWeb + `{"Name":"site-php-1","Service":"php","State":"running","Health":"healthy","ExitCode":0}` + "\n",
	}}.Check(t.Context())
	require.Equal(t, Result{Verdict: Pass, Detail: "php: healthy; web: healthy"}, result)
}

func TestEachUnhealthyStateIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		ps     string
		detail string
		logs   []string
	}{
		"no container": {
			ps:     "",
			detail: "web: has no container",
		},
		"only a container of docker compose run": {
			ps:     `{"Name":"site-web-run-1","Service":"web","State":"running","Health":"","Labels":"a=b,com.docker.compose.oneoff=True"}`,
			detail: "web: has no container",
		},
		"only a container of a service that is no more": {
			ps:     `{"Name":"site-old-1","Service":"old","State":"running","Health":""}`,
			detail: "web: has no container",
		},
		"never started": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"created","Health":"","ExitCode":0}`,
			detail: "web: created",
			logs:   []string{"web"},
		},
		"exited": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"exited","Health":"","ExitCode":137}`,
			detail: "web: exited with code 137",
			logs:   []string{"web"},
		},
		"exited without an error": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"exited","Health":"","ExitCode":0}`,
			detail: "web: exited with code 0",
			logs:   []string{"web"},
		},
		"restarting": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"restarting","Health":"","Status":"Restarting (1) 3 seconds ago"}`,
			detail: "web: restarting because it exits (Restarting (1) 3 seconds ago)",
			logs:   []string{"web"},
		},
		"paused": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"paused","Health":""}`,
			detail: "web: paused",
			logs:   []string{"web"},
		},
		"starting": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"running","Health":"starting"}`,
			detail: "web: starting, its health check has not succeeded yet",
			logs:   []string{"web", "web: health check"},
		},
		"unhealthy": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"running","Health":"unhealthy"}`,
			detail: "web: unhealthy",
			logs:   []string{"web", "web: health check"},
		},
		"without a health check": {
			ps:     `{"Name":"site-web-1","Service":"web","State":"running","Health":"","ExitCode":0}`,
			detail: "web: has no health check",
			logs:   []string{"web"},
		},
		"one replica of two": {
			ps:     healthyWeb + `{"Name":"site-web-2","Service":"web","State":"exited","Health":"","ExitCode":2}`,
			detail: "web: exited with code 2",
			logs:   []string{"web"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := Containers{
				Project: "/opt/site",
				Runner:  answers{composeServices: "web\n", composePs: test.ps},
			}.Check(t.Context())
			require.Equal(t, Fail, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			require.Equal(t, test.logs, logNames(result))
		})
	}
}

func TestOnlyTheBrokenServicesAreReported(t *testing.T) {
	result := Containers{Project: "/opt/site", Runner: answers{
		composeServices: "web\nphp\ncron\n",
		composePs:       healthyWeb + `{"Name":"site-php-1","Service":"php","State":"exited","Health":"","ExitCode":1}`,
	}}.Check(t.Context())
	require.Equal(t, "cron: has no container; php: exited with code 1", result.Detail)
	require.Equal(t, []string{"php"}, logNames(result))
}

func TestServerWithoutDockerIsNotReady(t *testing.T) {
	for name, test := range map[string]struct {
		runner proc.Runner
		detail string
	}{
		"Docker missing": {answers{}, `docker compose config --services: exec: "docker": executable file not found in $PATH`},
		"daemon dead": {fails("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\nIs the docker daemon " +
			"running?\n"),
			"docker compose config --services: exit status 1: Cannot connect to the Docker daemon at " +
				"unix:///var/run/docker.sock.; Is the docker daemon running?"},
	} {
		t.Run(name, func(t *testing.T) {
			result := Containers{Project: "/opt/site", Runner: test.runner}.Check(t.Context())
			require.Equal(t, Fail, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			require.Equal(t, []string{"docker.service"}, logNames(result))
		})
	}
}

func TestAProjectWithoutServicesIsNotReady(t *testing.T) {
	result := Containers{Project: "/opt/site", Runner: answers{composeServices: "\n", composePs: ""}}.Check(t.Context())
	require.Equal(t, Result{Detail: "the compose project in /opt/site has no services"}, result)
}

func TestInvalidOutputOfComposeIsNotReady(t *testing.T) {
	result := Containers{
		Project: "/opt/site",
		Runner:  answers{composeServices: "web\n", composePs: "NAME  IMAGE\n"},
	}.Check(t.Context())
	require.Equal(t, Fail, result.Verdict)
	require.Contains(t, result.Detail, "cannot read the output of docker compose ps: invalid character 'N'")
}
