package main

import (
	_ "embed" // the stack's page
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/components"
	"immutable-infra/stack"
	"immutable-infra/uptime"
)

// readme is the text of the stack's page at Pulumi Cloud, which fills in outputs.
//
//go:embed Pulumi.README.md
var readme string

// load reads the configuration, after it has checked the engine's version and the stack's name.
func load(ctx *pulumi.Context) (*stack.Config, error) {
	if err := stack.RequirePulumi(ctx); err != nil {
		return nil, err
	}
	if err := components.RequireStackName(ctx, "content"); err != nil {
		return nil, err
	}
	return stack.Load(ctx)
}

// optional is nil for a setting that is not set.
func optional(setting string) pulumi.StringPtrInput {
	if setting == "" {
		return nil
	}
	return pulumi.String(setting)
}

// pageTTL is for how many seconds resolvers cache the name of the status page.
const pageTTL = 3600

// records are the configured records and the one of the status page.
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
