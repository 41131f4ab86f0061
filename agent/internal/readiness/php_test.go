package readiness

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server with a broken PHP does not go live, however good the site's pages are.
func TestPHPPassesWhenItsProbeRuns(t *testing.T) {
	for name, test := range map[string]struct {
		docker  docker
		verdict Verdict
		detail  string
	}{
		"runs": {docker{answer: "ok\n"}, Pass, "the probe runs"},
		"lacks an extension": {
			docker{answer: "cannot load the extension gd\n"}, Fail,
			`the probe responded with "cannot load the extension gd" instead of "ok"`,
		},
		"warns": {
			docker{answer: "PHP Warning: session_start()\nok\n"}, Fail,
			`the probe responded with "PHP Warning: session_start(); ok" instead of "ok"`,
		},
		"its source": {docker{answer: "<?php echo 'ok';"}, Fail, `the probe responded with "<?php echo 'ok';" instead of "ok"`},
		"empty":      {docker{answer: ""}, Fail, `the probe responded with "" instead of "ok"`},
		"no PHP": {
			docker{err: errors.New("502 Bad Gateway: <html>\n<head>")}, Fail,
			"the probe does not respond: 502 Bad Gateway: <html>; <head>",
		},
		"no web server": {
			docker{err: errors.New("service web is not running")}, Fail,
			"the probe does not respond: service web is not running",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []any
			test.docker.asked = &asked
			result := PHP{Project: "/opt/site", Docker: test.docker}.Check(t.Context())
			require.Equal(t, []any{"/opt/site", "web", 8081, "/php_probe"}, asked)
			require.Equal(t, test.verdict, result.Verdict)
			require.Equal(t, test.detail, result.Detail)
			if test.verdict == Fail {
				require.Equal(t, []string{"php", "web"}, logNames(result))
			}
		})
	}
}
