package readiness

import (
	"context"
	"fmt"
	"strings"
)

// phpProbe is what a PHP that works answers to the probe.
const phpProbe = "ok"

// PHP is the check that the web server reaches PHP and that PHP runs, by a probe
// script that is the server's own. What the site's pages do has no part in it.
type PHP struct {
	// Project is the directory of compose.yaml.
	Project string
	Runner  Runner
}

// Name implements Check.
func (p PHP) Name() string { return "php" }

// Look implements Check.
func (p PHP) Look(ctx context.Context) Finding {
	logs := []Log{serviceLog(p.Project, "php"), serviceLog(p.Project, "web")}
	output, err := p.Runner.Run(ctx, Command{Dir: p.Project, Args: []string{
		"docker", "compose", "exec", "-T", "web", "busybox", "wget", "-q", "-T", "5", "-O", "-", "http://127.0.0.1:8081/php_probe",
	}})
	if err != nil {
		return Finding{Detail: "the probe has no answer: " + oneLine(err.Error()), Logs: logs}
	}
	if answer := strings.TrimSpace(string(output)); answer != phpProbe {
		return Finding{Detail: fmt.Sprintf("the probe answers %q instead of %q", oneLine(answer), phpProbe), Logs: logs}
	}
	return Finding{Verdict: Holds, Detail: "the probe runs"}
}
