package components

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/uptime"
)

const (
	// answerTime is how long a page may take, in seconds. A server hands over in
	// less than one.
	answerTime = 30
	// lookTime is how long a look at UptimeRobot may take. A preview waits for it.
	lookTime = 30 * time.Second
	// longestContact is how long the name of a web-hook may be there.
	longestContact = 60
)

// UptimeMonitorArgs are the arguments of an UptimeMonitor.
type UptimeMonitorArgs struct {
	// Domain is the site's name.
	Domain string `pulumi:"domain"`
	// Monitoring watches monitoring.<Domain>, too. Defaulted: false.
	Monitoring bool `pulumi:"monitoring"`
	// StatusPage is the name at which everybody sees the monitors. It needs a CNAME
	// record to uptime.PageHost. Optional.
	StatusPage string `pulumi:"statusPage"`
	// Interval is the time between two checks, in seconds.
	Interval int `pulumi:"interval"`
	// API is the URL of UptimeRobot's API.
	API string `pulumi:"api"`
	// Key is a main API key of the account. Optional: without it, nothing is made,
	// and a warning says so.
	Key string `pulumi:"key"`
	// Webhook is the URL that is told of outages. Optional: without it, nobody is
	// told, and a warning says so.
	Webhook string `pulumi:"webhook"`
	// Roots is the path of a PEM file with the authorities of the API's certificate.
	// Defaulted: those of the machine.
	Roots string `pulumi:"roots"`
	// Differences are what the last Look found.
	Differences []string `pulumi:"differences"`
	// After is what has to be there before somebody looks at the site.
	After []pulumi.Resource
}

// desired is what the stack should have at UptimeRobot.
func (a *UptimeMonitorArgs) desired() uptime.Desired {
	monitor := func(key, name, path, keyword string) uptime.Monitor {
		return uptime.Monitor{Key: key, Name: name, URL: "https://" + name + path, Keyword: keyword, Interval: a.Interval, Timeout: answerTime}
	}
	desired := uptime.Desired{Monitors: []uptime.Monitor{
		// The marker is there in each release, and on no error page and nobody else's.
		monitor("site", a.Domain, "/.well-known/release", `"release"`),
	}}
	if a.Monitoring {
		desired.Monitors = append(desired.Monitors, monitor("monitoring", "monitoring."+a.Domain, "/api/health", ""))
	}
	if a.Webhook != "" {
		name := "VictorOps: " + a.Domain
		desired.Contact = name[:min(len(name), longestContact)]
	}
	if a.StatusPage != "" {
		desired.Page = &uptime.Page{Name: a.Domain, Domain: a.StatusPage}
	}
	return desired
}

// Look says, in words, what at UptimeRobot is not as it should be. Command
// resources cannot be refreshed; so the program looks itself, whenever it runs.
func (a *UptimeMonitorArgs) Look(ctx context.Context, log func(string)) ([]string, error) {
	if a.Key == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	client, err := uptime.NewClient(uptime.Account{API: a.API, Key: a.Key, Webhook: a.Webhook, Roots: a.Roots}, log)
	if err != nil {
		return nil, err
	}
	return client.Differences(ctx, a.desired())
}

// UptimeMonitor watches the site from outside: monitors at UptimeRobot, the
// web-hook that they tell of outages, and a public status page.
type UptimeMonitor struct {
	pulumi.ResourceState

	// StatusPage is the URL of the status page, or "".
	StatusPage pulumi.StringOutput `pulumi:"statusPage"`
	// Watching is what makes UptimeRobot watch: nothing, where there is no key.
	Watching []pulumi.Resource
}

// NewUptimeMonitor makes an UptimeMonitor.
func NewUptimeMonitor(ctx *pulumi.Context, name string, args *UptimeMonitorArgs, opts ...pulumi.ResourceOption) (*UptimeMonitor, error) {
	if args == nil {
		return nil, fmt.Errorf("uptime monitor %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{
		"Domain": args.Domain != "", "Interval": args.Interval > 0, "API": args.API != "",
	}); err != nil {
		return nil, fmt.Errorf("uptime monitor %s: %w", name, err)
	}
	monitor := &UptimeMonitor{}
	if err := ctx.RegisterComponentResource(token("UptimeMonitor"), name, monitor, opts...); err != nil {
		return nil, err
	}
	shown := ""
	if args.Key != "" && args.StatusPage != "" {
		shown = fmt.Sprintf("https://%s/", args.StatusPage)
	}
	monitor.StatusPage = pulumi.String(shown).ToStringOutput()
	if warning := args.silence(); warning != "" {
		if err := ctx.Log.Warn(warning, &pulumi.LogArgs{Resource: monitor}); err != nil {
			return nil, fmt.Errorf("uptime monitor %s: %w", name, err)
		}
	}
	if args.Key != "" {
		command, err := newUptimeCommand(ctx, name+"-robot", args, monitor)
		if err != nil {
			return nil, err
		}
		monitor.Watching = []pulumi.Resource{command}
	}
	return monitor, ctx.RegisterResourceOutputs(monitor, pulumi.Map{"statusPage": monitor.StatusPage})
}

// silence says why nobody would hear of an outage, or "" if somebody would.
func (a *UptimeMonitorArgs) silence() string {
	switch {
	case a.Key == "":
		return "Nobody watches the site from outside: there is no API key of UptimeRobot (pulumi config set --secret uptimeRobotKey)."
	case a.Webhook == "":
		return "UptimeRobot tells nobody of an outage: there is no web-hook of VictorOps for it (pulumi config set --secret uptimeRobotWebhook)."
	}
	return ""
}

// newUptimeCommand makes what is at UptimeRobot as it should be.
func newUptimeCommand(ctx *pulumi.Context, name string, args *UptimeMonitorArgs, monitor *UptimeMonitor) (pulumi.Resource, error) {
	return newReconcilingCommand(ctx, name, reconcilingCommand{
		Create: goRun("uptime", "create"),
		Update: goRun("uptime", "update"),
		Delete: goRun("uptime", "delete"),
		Environment: pulumi.StringMap{
			"UPTIMEROBOT_API":     pulumi.String(args.API),
			"UPTIMEROBOT_DESIRED": pulumi.JSONMarshal(args.desired()),
		},
		Stdin:       pulumi.ToSecret(pulumi.JSONMarshal(map[string]string{"key": args.Key, "webhook": args.Webhook})).(pulumi.StringOutput),
		Differences: strings.Join(args.Differences, "; "),
		// As long as the client takes, and its compilation.
		Timeout: 8 * time.Minute,
	}, pulumi.Parent(monitor), pulumi.DependsOn(args.After))
}
