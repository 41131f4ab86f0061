package readiness

import (
	"context"
	"fmt"
	"strings"
)

const (
	phpProbe = "ok"
	// statusPort is the web server's port for requests of other containers.
	statusPort = 8081
)

// PHP checks that the web server reaches PHP and that PHP runs, with the server's own probe script. The site's
// pages do not matter.
type PHP struct {
	Project string
	Docker  Docker
}

func (p PHP) Name() string { return "php" }

func (p PHP) Check(ctx context.Context) Result {
	logs := []Log{serviceLog(p.Project, "php"), serviceLog(p.Project, "web")}
	output, err := p.Docker.Get(ctx, p.Project, "web", statusPort, "/php_probe")
	if err != nil {
		return fail("the probe does not respond: "+oneLine(err.Error()), logs...)
	}
	if response := strings.TrimSpace(string(output)); response != phpProbe {
		return fail(fmt.Sprintf("the probe responded with %q instead of %q", oneLine(response), phpProbe), logs...)
	}
	return pass("the probe runs")
}
