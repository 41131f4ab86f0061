package readiness

import (
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/proc"
)

const askProbe = "docker compose exec -T web busybox wget -q -T 5 -O - http://127.0.0.1:8081/php_probe"

// R1: a server with a broken PHP does not go live, however good the site's pages are.
func TestR1PHPPassesWhenItsProbeRuns(t *testing.T) {
	for name, test := range map[string]struct {
		runner  proc.Runner
		verdict Verdict
		detail  string
	}{
		"runs": {answers{askProbe: "ok\n"}, Pass, "the probe runs"},
		"lacks something": {
			answers{askProbe: "cannot load the extension gd\n"}, Fail,
			`the probe responded with "cannot load the extension gd" instead of "ok"`,
		},
		"warns": {
			answers{askProbe: "PHP Warning: session_start()\nok\n"}, Fail,
			`the probe responded with "PHP Warning: session_start(); ok" instead of "ok"`,
		},
		"its source": {answers{askProbe: "<?php echo 'ok';"}, Fail, `the probe responded with "<?php echo 'ok';" instead of "ok"`},
		"nothing":    {answers{askProbe: ""}, Fail, `the probe responded with "" instead of "ok"`},
		"no PHP": {
			fails("wget: server returned error: HTTP/1.1 502 Bad Gateway\n"), Fail,
			"the probe does not respond: " + askProbe + ": exit status 1: wget: server returned error: HTTP/1.1 502 Bad Gateway",
		},
		"no web server": {
			fails("service \"web\" is not running\n"), Fail,
			"the probe does not respond: " + askProbe + `: exit status 1: service "web" is not running`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := PHP{Project: "/opt/site", Runner: test.runner}.Check(t.Context())
			require.Equal(t, test.verdict, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			if test.verdict == Fail {
				require.Equal(t, []string{"php", "web"}, logNames(result))
			}
		})
	}
}
