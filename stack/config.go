// Package stack is the typed configuration of one stack: its settings, their defaults and their validation.
package stack

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/bake"
	"immutable-infra/server"
)

// Config is the configuration of one stack. The key of each field in Pulumi.<stack>.yaml is in its tag; Pulumi.yaml
// describes every key. Tags are those of server.Settings.
type Config struct {
	server.Settings
	bake.Criteria
	secret secrets

	// ZoneID is the id of the Route 53 hosted zone that holds the names. Without one, an operator
	// creates the DNS records by hand.
	ZoneID string `config:"zoneId"`
	// DNSRecords are further records of the zone.
	DNSRecords []DNSRecord `config:"dnsRecords"`
	// ACMECA is the path of a PEM file with the roots of the certificate authority: ACMERoots are its content.
	ACMECA string `config:"acmeCA"`

	// SSHFromRunner gives servers a security group that lets in the machine that deploys, for the time of an update.
	SSHFromRunner bool `config:"sshFromRunner"`
	// RunnerBlock is the address of that machine, from the environment variable SSH_FROM, which make deploy sets for
	// the time of the update; "" at all other times.
	RunnerBlock string

	// AMI is the id of a Debian 13 image for the architecture of InstanceType.
	AMI string `config:"ami"`
	// VpcCIDR is the VPC's address range.
	VpcCIDR string `config:"vpcCidr" default:"10.42.0.0/16"`
	// ServerBoundary is the ARN of the permissions boundary of the servers' role, or "" for none. A deployment by a
	// workflow needs one: docs/github.md.
	ServerBoundary string `config:"serverBoundary"`

	// SiteDir is the directory of the Jekyll site, relative to the project.
	SiteDir string `config:"siteDir" default:"site"`
	// BuildCommand builds the site into _site; "" runs Jekyll, by bundler where there is a Gemfile.
	BuildCommand string `config:"buildCommand"`
	// JekyllEnv is JEKYLL_ENV of the build.
	JekyllEnv string `config:"jekyllEnv" default:"production"`

	// UptimeRobotAPI is the URL of UptimeRobot's API.
	UptimeRobotAPI string `config:"uptimeRobotAPI" default:"https://api.uptimerobot.com/v3"`
	// UptimeRobotInterval is how many seconds pass between two probes of the site.
	UptimeRobotInterval int `config:"uptimeRobotInterval" default:"300" range:"30 86400"`
	// StatusPage shows the state of the site to everybody, at status.<domain>.
	StatusPage bool `config:"statusPage" default:"true"`

	// Protect refuses to delete the resources that cannot be created again: the VIP, the backup
	// bucket and the SSH keys.
	Protect bool `config:"protect" default:"true"`
	// BackupVersionsKept is how many noncurrent versions of each backup object are kept.
	BackupVersionsKept int `config:"backupVersionsKept" default:"30" range:"1 100"`
	// BackupVersionDays is for how many days at least a noncurrent version is kept.
	BackupVersionDays int `config:"backupVersionDays" default:"30" range:"1 3650"`
}

// secrets are the settings that are encrypted in Pulumi.<stack>.yaml. Outside of this package they are secret outputs
// only. Each is optional.
type secrets struct {
	server.Secrets
	// UptimeRobotKey is a main API key of UptimeRobot, which probes the site from outside.
	UptimeRobotKey string `config:"uptimeRobotKey"`
	// UptimeRobotWebhook is the URL of the integration "Uptime Robot" of VictorOps, with the routing key, which
	// receives outages. After loading it ends with a question mark, as UptimeRobot requires.
	UptimeRobotWebhook string `config:"uptimeRobotWebhook"`
}

// Secrets is a secret output of server.Secrets.
func (c *Config) Secrets() pulumi.Output { return pulumi.ToSecret(c.secret.Secrets) }

// UptimeRobotKey is a secret output, or nil if the key is not set.
func (c *Config) UptimeRobotKey() pulumi.StringPtrInput { return secretOutput(c.secret.UptimeRobotKey) }

// UptimeRobotWebhook is a secret output, or nil if the URL is not set.
func (c *Config) UptimeRobotWebhook() pulumi.StringPtrInput {
	return secretOutput(c.secret.UptimeRobotWebhook)
}

func secretOutput(value string) pulumi.StringPtrInput {
	if value == "" {
		return nil
	}
	return pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput).ToStringPtrOutput()
}

// StatusPageName is the name of the public status page, or "": without a key of
// UptimeRobot, there is none.
func (c *Config) StatusPageName() string {
	if c.secret.UptimeRobotKey == "" || !c.StatusPage {
		return ""
	}
	return "status." + c.Domain
}

// DNSRecord is a set of DNS records with one name and type.
type DNSRecord struct {
	// Name is a full name: example.org.
	Name string `json:"name"`
	// Type is AAAA, CAA, CNAME, MX, NS, SRV, TXT or A.
	Type string `json:"type"`
	// TTL is in seconds. Default: 3600.
	TTL int `json:"ttl"`
	// Values are in the form of a zone file, such as "10 mail.example.org."; the
	// text of a TXT record is without quotes.
	Values []string `json:"values"`
}

// Defaults returns the configuration of a stack that sets nothing. Pulumi.yaml states the same values; a test
// compares them.
func Defaults() Config {
	var config Config
	server.SetDefaults(&config)
	return config
}
