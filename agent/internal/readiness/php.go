package readiness

import (
	"context"
	"fmt"
	"strings"

	"immutable-infra/agent/internal/proc"
)

const phpProbe = "ok"

// PHP checks that the web server reaches PHP and that PHP runs, with a probe script of the server's
// own. The site's pages do not matter.
type PHP struct {
	Project string
	Runner  proc.Runner
}

func (p PHP) Name() string { return "php" }

func (p PHP) Check(ctx context.Context) Result {
	logs := []Log{serviceLog(p.Project, "php"), serviceLog(p.Project, "web")}
	output, err := p.Runner.Run(ctx, proc.Command{Dir: p.Project, Args: []string{
		"docker", "compose", "exec", "-T", "web", "busybox", "wget", "-q", "-T", "5", "-O", "-",
		"http://127.0.0.1:8081/php_probe",
	}})
	if err != nil {
		return fail("the probe does not respond: "+oneLine(err.Error()), logs...)
	}
	if answer := strings.TrimSpace(string(output)); answer != phpProbe {
		return fail(fmt.Sprintf("the probe responded with %q instead of %q", oneLine(answer), phpProbe), logs...)
	}
	return pass("the probe runs")
}
