// Command immutable-infra is the Pulumi program that deploys one stack of the website as immutable infrastructure.
package main

import (
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/components"
	"immutable-infra/server"
	"immutable-infra/stack"
)

// workDir is the directory for builds.
const workDir = ".build"

func main() {
	pulumi.Run(func(ctx *pulumi.Context) error {
		config, err := load(ctx)
		if err != nil {
			return err
		}
		bundle, err := server.BuildBundle(ctx.Context(), "agent", workDir, config.Architecture())
		if err != nil {
			return err
		}
		return deploy(ctx, config, bundle, uptimeMonitor(config).FindDrift(ctx))
	})
}

// deploy registers the resources of the stack. drift describes how UptimeRobot differs from the configuration.
func deploy(ctx *pulumi.Context, config *stack.Config, bundle server.Bundle, drift []string) error {
	components.TagResources(ctx)

	// Resources that outlive every server.
	network, err := components.NewNetwork(ctx, "network", &components.NetworkArgs{
		CIDRBlock: config.VpcCIDR, Region: config.Region, InstanceType: config.InstanceType,
		SSHFromRunner: config.SSHFromRunner, RunnerBlock: config.RunnerBlock, SSHPort: config.SSHPort,
	})
	if err != nil {
		return err
	}
	content, err := components.NewContentBucket(ctx, "content", &components.ContentBucketArgs{
		SiteDir: config.SiteDir, BuildCommand: config.BuildCommand, JekyllEnv: config.JekyllEnv,
		WorkDir: workDir, Region: config.Region,
	})
	if err != nil {
		return err
	}
	backup, err := components.NewBackupBucket(ctx, "backup", &components.BackupBucketArgs{
		Protect: &config.Protect, VersionsKept: config.BackupVersionsKept, VersionDays: config.BackupVersionDays,
	})
	if err != nil {
		return err
	}
	vip, err := components.NewVIP(ctx, "vip", &components.VIPArgs{Protect: &config.Protect})
	if err != nil {
		return err
	}
	dns, err := components.NewDNS(ctx, "dns", &components.DNSArgs{
		Names: config.Names(), Address: vip.Address, ZoneID: optional(config.ZoneID), Records: records(config),
	})
	if err != nil {
		return err
	}
	sshCA, err := components.NewSshCA(ctx, "ssh-ca", &components.SshCAArgs{
		Names: append([]string{config.Domain}, config.Aliases...), Address: vip.Address, Port: config.SSHPort,
		Protect: &config.Protect,
	})
	if err != nil {
		return err
	}

	// Every change creates a new server. The VIP moves to it when it is ready.
	web, err := components.NewWebServer(ctx, "web", &components.WebServerArgs{
		Settings: config.Settings, Secrets: config.Secrets(), Bundle: bundle,
		Network: network, SshCA: sshCA, Address: vip.Address,
		Content: content.Bucket, Release: content.Release, Backup: backup.Bucket,
		AMI: pulumi.String(config.AMI), Boundary: optional(config.ServerBoundary), DependsOn: content.Ready,
		SSHAllowFromSecret: ctx.IsConfigSecret(ctx.Project() + ":sshAllowFrom"),
	})
	if err != nil {
		return err
	}
	cutover, err := components.NewCutover(ctx, "cutover", &components.CutoverArgs{
		Address: vip.Address, AllocationID: vip.AllocationID, ServerID: web.InstanceID, Release: content.Release,
		Domain: config.Domain, RootsFile: config.ACMECA, BackupBucket: backup.Name, Region: config.Region,
		Bake: config.Criteria, DependsOn: slices.Concat(web.Ready, dns.AddressesReady),
	})
	if err != nil {
		return err
	}

	// External probes, and the guard against an accidental destroy.
	monitor := uptimeMonitor(config)
	monitor.Drift, monitor.DependsOn = drift, slices.Concat(cutover.Ready, dns.Ready)
	uptime, err := components.NewUptimeMonitor(ctx, "uptime", monitor)
	if err != nil {
		return err
	}
	_, err = components.NewDeletionGuard(ctx, "guard", &components.DeletionGuardArgs{
		Protect: &config.Protect, DependsOn: append(slices.Concat(cutover.Ready, dns.Ready, uptime.Ready), content.Lifecycle),
	})

	ctx.Export("url", pulumi.Sprintf("https://%s/", config.Domain))
	ctx.Export("vip", vip.Address)
	ctx.Export("serverId", cutover.ServerID)
	ctx.Export("release", content.Release)
	ctx.Export("contentBucket", content.Name)
	ctx.Export("backupBucket", backup.Name)
	ctx.Export("knownHosts", sshCA.KnownHosts)
	ctx.Export("readme", pulumi.String(readme))
	if config.StatusPageName() != "" {
		ctx.Export("statusPage", uptime.StatusPage)
	}
	if config.ZoneID == "" {
		ctx.Export("dnsRecords", dns.ManualRecords)
	}
	return err
}
