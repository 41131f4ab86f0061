// The website as immutable infrastructure: one stack of it.
package main

import (
	_ "embed" // the stack's page
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/components"
	"immutable-infra/publish"
	"immutable-infra/server"
	"immutable-infra/stack"
	"immutable-infra/uptime"
)

// readme is the text of the stack's page at Pulumi Cloud, which puts outputs into it.
//
//go:embed Pulumi.README.md
var readme string

// workDir is where the program puts what it builds.
const workDir = ".build"

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		if err := requirePulumi(ctx); err != nil {
			return err
		}
		if err := components.RequireStackName(ctx, "contentBucket", "content"); err != nil {
			return err
		}
		config, err := stack.Load(ctx)
		if err != nil {
			return err
		}
		bundle, err := server.BuildBundle(ctx.Context(), "agent", workDir, config.Architecture())
		if err != nil {
			return err
		}
		watch := uptimeMonitor(config)
		if watch.Differences, err = watch.Look(ctx.Context(), func(told string) { _ = ctx.Log.Info(told, nil) }); err != nil {
			// A deployment does not wait for those who look at it.
			if err := ctx.Log.Warn(fmt.Sprintf("Whether UptimeRobot watches the site as it should is not known: %v", err), nil); err != nil {
				return err
			}
		}
		return deploy(ctx, config, bundle, watch)
	})
}

// runner is how the machine that deploys reaches servers. Its address is no configuration, as it is another one each
// time: make deploy sets SSH_FROM for the time of the update.
func runner(config *stack.Config) (*components.Runner, error) {
	if !config.SSHFromRunner {
		return nil, nil
	}
	block := os.Getenv("SSH_FROM")
	if prefix, err := netip.ParsePrefix(block); block != "" && (err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() || prefix.Bits() < 24) {
		return nil, fmt.Errorf("SSH_FROM: %q is not the address of one machine; write one such as 203.0.113.7/32", block)
	}
	return &components.Runner{CIDRBlock: block, SSHPort: config.SSHPort}, nil
}

// deploy composes the stack.
func deploy(ctx *pulumi.Context, config *stack.Config, bundle server.Bundle, watch *components.UptimeMonitorArgs) error {
	sourceHash, err := publish.SiteHash(config.SiteDir, workDir)
	if err != nil {
		return err
	}

	runner, err := runner(config)
	if err != nil {
		return err
	}

	// What outlives every server.
	network, err := components.NewNetwork(ctx, "network", &components.NetworkArgs{
		CIDRBlock:    config.VpcCIDR,
		Region:       config.Region,
		InstanceType: config.InstanceType,
		Runner:       runner,
	})
	if err != nil {
		return err
	}
	content, err := components.NewContentBucket(ctx, "content", &components.ContentBucketArgs{
		SiteDir:      config.SiteDir,
		SourceHash:   sourceHash,
		WorkDir:      workDir,
		Region:       config.Region,
		JekyllEnv:    config.JekyllEnv,
		BuildCommand: config.BuildCommand,
	})
	if err != nil {
		return err
	}
	backup, err := components.NewBackupBucket(ctx, "backup", &components.BackupBucketArgs{
		Protect:      &config.Protect,
		VersionsKept: config.BackupVersionsKept,
		VersionDays:  config.BackupVersionDays,
	})
	if err != nil {
		return err
	}
	vip, err := components.NewVIP(ctx, "vip", &components.VIPArgs{Protect: &config.Protect})
	if err != nil {
		return err
	}
	dns, err := components.NewDNS(ctx, "dns", &components.DNSArgs{
		Names:   config.Names(),
		Address: vip.Address,
		ZoneID:  config.ZoneID,
		Records: records(config),
	})
	if err != nil {
		return err
	}
	sshCA, err := components.NewSshCA(ctx, "ssh-ca", &components.SshCAArgs{
		Names:   append([]string{config.Domain}, config.Aliases...),
		Address: vip.Address,
		Port:    config.SSHPort,
		Protect: &config.Protect,
	})
	if err != nil {
		return err
	}

	// The server: a new one for every change. The VIP moves when it is ready.
	web, err := components.NewWebServer(ctx, "web", &components.WebServerArgs{
		Network:             network,
		Content:             content,
		Backup:              backup,
		SshCA:               sshCA,
		VIP:                 vip,
		Bundle:              bundle,
		Admins:              admins(config.Admins),
		Domain:              config.Domain,
		Aliases:             config.Aliases,
		ACME:                acme(config),
		Monitoring:          monitoring(config),
		HSTS:                config.HSTS(),
		Mail:                mail(config),
		PHPEgress:           config.PHPEgress,
		BackupInterval:      config.BackupInterval,
		BackupRetention:     config.BackupRetention,
		Region:              config.Region,
		AMI:                 config.AMI,
		InstanceType:        config.InstanceType,
		SSHPort:             config.SSHPort,
		SSHAllowFrom:        config.SSHAllowFrom,
		SSHAllowFromSecret:  ctx.IsConfigSecret(ctx.Project() + ":sshAllowFrom"),
		ServerBoundary:      config.ServerBoundary,
		Generation:          config.Generation,
		RootVolumeSize:      config.RootVolumeSize,
		ReleasesKept:        config.ReleasesKept,
		ProvisioningTimeout: config.ProvisioningTimeout,
	})
	if err != nil {
		return err
	}
	if err := vip.PointTo(ctx, web, dns, content.Release); err != nil {
		return err
	}

	// Who watches it from outside.
	watch.After = append(vip.Served, dns.Ready...)
	monitor, err := components.NewUptimeMonitor(ctx, "uptime", watch)
	if err != nil {
		return err
	}

	// Nothing of it goes by accident.
	if _, err := components.NewDeletionGuard(ctx, "guard", &components.DeletionGuardArgs{
		Protect: &config.Protect,
		Guarded: slices.Concat(vip.Served, dns.Ready, monitor.Watching, []pulumi.Resource{content.Lifecycle}),
	}); err != nil {
		return err
	}

	ctx.Export("url", pulumi.String(fmt.Sprintf("https://%s/", config.Domain)))
	ctx.Export("vip", vip.Address)
	ctx.Export("serverId", vip.ServerID)
	ctx.Export("release", content.Release)
	ctx.Export("contentBucket", content.Name)
	ctx.Export("backupBucket", backup.Name)
	ctx.Export("knownHosts", sshCA.KnownHosts)
	ctx.Export("readme", pulumi.String(readme))
	if config.StatusPageName() != "" {
		ctx.Export("statusPage", monitor.StatusPage)
	}
	if config.ZoneID == "" {
		ctx.Export("dnsRecords", dns.ByHand)
	}
	return nil
}

func acme(config *stack.Config) components.ACME {
	return components.ACME{
		Directory: config.ACMEDirectory,
		Email:     config.ACMEEmail,
		Roots:     config.ACMERoots,
		RootsFile: config.ACMECA,
	}
}

func monitoring(config *stack.Config) components.Monitoring {
	return components.Monitoring{
		Retention:           config.MetricsRetention,
		VictorOpsKey:        config.VictorOpsKey,
		VictorOpsRouting:    config.VictorOpsRouting,
		HeartbeatURL:        config.HeartbeatURL,
		Grafana:             config.Grafana,
		GitHubID:            config.GrafanaGitHubID,
		GitHubSecret:        config.GrafanaGitHubSecret,
		GitHubOrganizations: config.GrafanaGitHubOrganizations,
	}
}

func mail(config *stack.Config) server.Mail {
	return server.Mail{
		Host:     config.SMTPHost,
		Port:     config.SMTPPort,
		User:     config.SMTPUser,
		Password: config.SMTPPassword,
		From:     config.SMTPFrom,
	}
}

func uptimeMonitor(config *stack.Config) *components.UptimeMonitorArgs {
	return &components.UptimeMonitorArgs{
		Domain: config.Domain,
		// Without Grafana, there is nothing.
		Monitoring: config.Grafana,
		StatusPage: config.StatusPageName(),
		Interval:   config.UptimeRobotInterval,
		API:        config.UptimeRobotAPI,
		Key:        config.UptimeRobotKey,
		Webhook:    config.UptimeRobotWebhook,
		Roots:      os.Getenv("UPTIMEROBOT_CA_BUNDLE"),
	}
}

// pageTTL is for how many seconds resolvers keep where the status page is.
const pageTTL = 3600

func records(config *stack.Config) []components.Record {
	var records []components.Record
	for _, record := range config.DNSRecords {
		records = append(records, components.Record(record))
	}
	if page := config.StatusPageName(); page != "" {
		records = append(records, components.Record{Name: page, Type: "CNAME", TTL: pageTTL, Values: []string{uptime.PageHost + "."}})
	}
	return records
}

func admins(configured []stack.Admin) []server.Admin {
	var admins []server.Admin
	for _, admin := range configured {
		admins = append(admins, server.Admin{Name: admin.Name, Keys: admin.Keys})
	}
	return admins
}
