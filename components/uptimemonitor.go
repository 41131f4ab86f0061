package components

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/internals"

	"immutable-infra/uptime"
)

const (
	// probeTimeout is how long a page may take to load, in seconds. A handover takes less than one.
	probeTimeout = 30
	// driftTimeout bounds the check for drift, which a preview waits for.
	driftTimeout = 30 * time.Second
	// maxContactName is UptimeRobot's limit for the name of a web-hook, in bytes.
	maxContactName = 60
)

// UptimeMonitorArgs are the arguments of an UptimeMonitor.
type UptimeMonitorArgs struct {
	// Domain is the site's domain name.
	Domain string `pulumi:"domain"`
	// Monitoring also probes monitoring.<Domain>. Default: false.
	Monitoring bool `pulumi:"monitoring"`
	// StatusPage is the domain name of the public status page, which needs a CNAME record to uptime.PageHost. Optional.
	StatusPage string `pulumi:"statusPage"`
	// Interval is the time between two probes, in seconds.
	Interval int `pulumi:"interval"`
	// API is the URL of UptimeRobot's API.
	API string `pulumi:"api"`
	// Key is a main API key of the account, a secret. Optional: without it, nothing is created, and a warning is logged.
	Key pulumi.StringPtrInput `pulumi:"key"`
	// Webhook is the URL that is notified of outages, a secret. Optional: without it, no alert is sent, and a warning is
	// logged.
	Webhook pulumi.StringPtrInput `pulumi:"webhook"`
	// Roots is the path of a PEM file with the authorities of the API's certificate. Default: the machine's.
	Roots string `pulumi:"roots"`
	// Drift is the result of FindDrift.
	Drift []string `pulumi:"drift"`
	// DependsOn lists the resources that the first probe depends on.
	DependsOn []pulumi.Resource
}

// desired returns the desired state at UptimeRobot.
func (a *UptimeMonitorArgs) desired() uptime.Desired {
	monitor := func(key, name, path, keyword string) uptime.Monitor {
		return uptime.Monitor{
			Key: key, Name: name, URL: "https://" + name + path, Keyword: keyword,
			Interval: a.Interval, Timeout: probeTimeout,
		}
	}
	desired := uptime.Desired{Monitors: []uptime.Monitor{
		// Every release has this marker; error pages and other sites do not.
		monitor("site", a.Domain, "/.well-known/release", `"release"`),
	}}
	if a.Monitoring {
		desired.Monitors = append(desired.Monitors, monitor("monitoring", "monitoring."+a.Domain, "/api/health", ""))
	}
	if a.Webhook != nil {
		name := "VictorOps: " + a.Domain
		desired.Contact = name[:min(len(name), maxContactName)]
	}
	if a.StatusPage != "" {
		desired.Page = &uptime.Page{Name: a.Domain, Domain: a.StatusPage}
	}
	return desired
}

// FindDrift describes how UptimeRobot differs from the arguments. Command resources cannot be refreshed, so the program
// looks for drift itself whenever it runs.
func (a *UptimeMonitorArgs) FindDrift(ctx *pulumi.Context) []string {
	drift, err := a.findDrift(ctx.Context(), func(message string) { _ = ctx.Log.Info(message, nil) })
	if err != nil {
		// UptimeRobot being unreachable must not block a deployment.
		_ = ctx.Log.Warn(fmt.Sprintf("cannot check UptimeRobot for drift: %v; the deployment continues without it", err), nil)
	}
	return drift
}

// findDrift returns no drift if there is no key, or if the key is not known yet.
func (a *UptimeMonitorArgs) findDrift(ctx context.Context, log func(string)) ([]string, error) {
	key, err := await(ctx, a.Key)
	if err != nil || key == "" {
		return nil, err
	}
	webhook, err := await(ctx, a.Webhook)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, driftTimeout)
	defer cancel()
	client, err := uptime.NewClient(uptime.Account{API: a.API, Key: key, Webhook: webhook, Roots: a.Roots}, log)
	if err != nil {
		return nil, err
	}
	return client.Drift(ctx, a.desired())
}

// await returns the value of an input, or "" if the input is nil or not known yet.
func await(ctx context.Context, input pulumi.StringPtrInput) (string, error) {
	if input == nil {
		return "", nil
	}
	result, err := internals.UnsafeAwaitOutput(ctx, input.ToStringPtrOutput())
	if value, ok := result.Value.(*string); ok && result.Known && value != nil {
		return *value, err
	}
	return "", err
}

// UptimeMonitor probes the site from outside: monitors at UptimeRobot, the web-hook that receives outages, and a public
// status page.
type UptimeMonitor struct {
	pulumi.ResourceState

	// StatusPage is the URL of the status page, or "".
	StatusPage pulumi.StringOutput `pulumi:"statusPage"`
	// Ready lists the command that configures UptimeRobot; it is empty without a key.
	Ready []pulumi.Resource
}

// NewUptimeMonitor creates an UptimeMonitor.
func NewUptimeMonitor(
	ctx *pulumi.Context, name string, args *UptimeMonitorArgs, opts ...pulumi.ResourceOption,
) (*UptimeMonitor, error) {
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
	pageURL := ""
	if args.Key != nil && args.StatusPage != "" {
		pageURL = fmt.Sprintf("https://%s/", args.StatusPage)
	}
	monitor.StatusPage = pulumi.String(pageURL).ToStringOutput()
	if warning := args.alertWarning(); warning != "" {
		if err := ctx.Log.Warn(warning, &pulumi.LogArgs{Resource: monitor}); err != nil {
			return nil, fmt.Errorf("uptime monitor %s: %w", name, err)
		}
	}
	if args.Key != nil {
		command, err := newUptimeCommand(ctx, name+"-robot", args, monitor)
		if err != nil {
			return nil, err
		}
		monitor.Ready = []pulumi.Resource{command}
	}
	return monitor, ctx.RegisterResourceOutputs(monitor, pulumi.Map{"statusPage": monitor.StatusPage})
}

// alertWarning returns a warning if no alert would be sent for an outage, or "".
func (a *UptimeMonitorArgs) alertWarning() string {
	switch {
	case a.Key == nil:
		return "Nothing probes the site from outside: set a key of UptimeRobot (pulumi config set --secret uptimeRobotKey)."
	case a.Webhook == nil:
		return "UptimeRobot sends no alert of an outage: set a web-hook of VictorOps " +
			"(pulumi config set --secret uptimeRobotWebhook)."
	}
	return ""
}

// newUptimeCommand creates the command that reconciles UptimeRobot.
func newUptimeCommand(
	ctx *pulumi.Context, name string, args *UptimeMonitorArgs, monitor *UptimeMonitor,
) (pulumi.Resource, error) {
	secrets := pulumi.Map{"key": args.Key, "webhook": pulumi.String("")}
	if args.Webhook != nil {
		secrets["webhook"] = args.Webhook
	}
	return newReconcilingCommand(ctx, name, reconcilingCommand{
		Create: goRun("uptime", "create"),
		Update: goRun("uptime", "update"),
		Delete: goRun("uptime", "delete"),
		Environment: pulumi.StringMap{
			"UPTIMEROBOT_API":     pulumi.String(args.API),
			"UPTIMEROBOT_DESIRED": pulumi.JSONMarshal(args.desired()),
		},
		Stdin: pulumi.ToSecret(pulumi.JSONMarshal(secrets)).(pulumi.StringOutput),
		Drift: strings.Join(args.Drift, "; "),
		// Leaves room for the client's own timeout and for its compilation.
		Timeout: 8 * time.Minute,
	}, pulumi.Parent(monitor), pulumi.DependsOn(args.DependsOn))
}
