package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// UptimeMonitorArgs are the arguments of an UptimeMonitor.
type UptimeMonitorArgs struct {
	// URL is what is watched.
	URL pulumi.StringInput `pulumi:"url"`
}

// UptimeMonitor watches the site from outside. It creates nothing yet: it holds
// the place of the monitors in the stack.
type UptimeMonitor struct {
	pulumi.ResourceState

	// URL is what is watched.
	URL pulumi.StringOutput `pulumi:"url"`
}

// NewUptimeMonitor makes an UptimeMonitor.
func NewUptimeMonitor(ctx *pulumi.Context, name string, args *UptimeMonitorArgs, opts ...pulumi.ResourceOption) (*UptimeMonitor, error) {
	if args == nil {
		return nil, fmt.Errorf("uptime monitor %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{"URL": args.URL != nil}); err != nil {
		return nil, fmt.Errorf("uptime monitor %s: %w", name, err)
	}
	monitor := &UptimeMonitor{}
	if err := ctx.RegisterComponentResource(token("UptimeMonitor"), name, monitor, opts...); err != nil {
		return nil, err
	}
	monitor.URL = args.URL.ToStringOutput()
	return monitor, ctx.RegisterResourceOutputs(monitor, pulumi.Map{"url": monitor.URL})
}
