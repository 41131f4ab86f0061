package main

import (
	_ "embed" // for readme
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/components"
	"immutable-infra/stack"
	"immutable-infra/uptime"
)

// readme is the template of the stack's page in Pulumi Cloud, which fills in the outputs.
//
//go:embed Pulumi.README.md
var readme string

// load checks the engine's version and the stack's name, and then reads the configuration.
func load(ctx *pulumi.Context) (*stack.Config, error) {
	if err := stack.RequirePulumi(ctx); err != nil {
		return nil, err
	}
	if err := components.RequireStackName(ctx, "content"); err != nil {
		return nil, err
	}
	return stack.Load(ctx)
}

// optional returns nil for an unset setting.
func optional(setting string) pulumi.StringPtrInput {
	if setting == "" {
		return nil
	}
	return pulumi.String(setting)
}

// pageTTL is the TTL of the status page's DNS record, in seconds.
const pageTTL = 3600

// records returns the configured DNS records and the one for the status page.
func records(config *stack.Config) []components.Record {
	var records []components.Record
	for _, record := range config.DNSRecords {
		records = append(records, components.Record(record))
	}
	if page := config.StatusPageName(); page != "" {
		target := []string{uptime.PageHost + "."}
		records = append(records, components.Record{Name: page, Type: "CNAME", TTL: pageTTL, Values: target})
	}
	return records
}

func uptimeMonitor(config *stack.Config) *components.UptimeMonitorArgs {
	return &components.UptimeMonitorArgs{
		Domain: config.Domain, Monitoring: config.Grafana, StatusPage: config.StatusPageName(),
		API: config.UptimeRobotAPI, Interval: config.UptimeRobotInterval, Roots: os.Getenv("UPTIMEROBOT_CA_BUNDLE"),
		Key: config.UptimeRobotKey(), Webhook: config.UptimeRobotWebhook(),
	}
}
