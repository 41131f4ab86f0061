// Package stack is the typed configuration of a stack: its settings, their defaults and their validation.
package stack

import (
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/bake"
	"immutable-infra/server"
)

// Config is the configuration of a stack. The tag of each field has its key in Pulumi.<stack>.yaml; Pulumi.yaml
// describes every key. The tags are those of server.Settings.
type Config struct {
	server.Settings
	bake.Criteria
	secret secrets

	// ZoneID is the id of the Route 53 hosted zone that holds the names. Without one, an operator creates the DNS records
	// by hand.
	ZoneID string `config:"zoneId"`
	// DNSRecords are additional records in the zone.
	DNSRecords []DNSRecord `config:"dnsRecords"`
	// ACMECA is the path of a PEM file with the roots of the certificate authority. ACMERoots has its content.
	ACMECA string `config:"acmeCA"`

	// SSHFromRunner gives servers a security group that admits the machine that deploys, for the duration of an update.
	SSHFromRunner bool `config:"sshFromRunner"`
	// RunnerBlock is the CIDR block of that machine, from the environment variable SSH_FROM, which make deploy sets for
	// the duration of the update; "" at all other times.
	RunnerBlock string

	// AMI is the id of a Debian 13 image for the architecture of InstanceType.
	AMI string `config:"ami"`
	// VpcCIDR is the VPC's address range.
	VpcCIDR string `config:"vpcCidr" default:"10.42.0.0/16"`
	// ServerBoundary is the ARN of the permissions boundary of the servers' role, or "" for none. A deployment by a
	// workflow needs one: docs/github.md.
	ServerBoundary string `config:"serverBoundary"`

	// SiteDir is the directory of the Jekyll site, relative to the project's directory.
	SiteDir string `config:"siteDir" default:"site"`
	// BuildCommand builds the site into _site; "" runs Jekyll, with bundler if there is a Gemfile.
	BuildCommand string `config:"buildCommand"`
	// JekyllEnv is JEKYLL_ENV of the build.
	JekyllEnv string `config:"jekyllEnv" default:"production"`

	// UptimeRobotAPI is the URL of UptimeRobot's API.
	UptimeRobotAPI string `config:"uptimeRobotAPI" default:"https://api.uptimerobot.com/v3"`
	// UptimeRobotInterval is the time between two probes of the site, in seconds.
	UptimeRobotInterval int `config:"uptimeRobotInterval" default:"300" range:"30 86400"`
	// StatusPage creates a public status page for the site at status.<domain>.
	StatusPage bool `config:"statusPage" default:"true"`

	// Protect prevents the deletion of resources that cannot be recreated: the VIP, the backup bucket and the SSH keys.
	Protect bool `config:"protect" default:"true"`
	// BackupVersionsKept is how many noncurrent versions of each backup object are kept.
	BackupVersionsKept int `config:"backupVersionsKept" default:"30" range:"1 100"`
	// BackupVersionDays is the minimum number of days that a noncurrent version is kept.
	BackupVersionDays int `config:"backupVersionDays" default:"30" range:"1 3650"`
}

// secrets are the settings that are encrypted in Pulumi.<stack>.yaml. Outside this package they exist only as secret
// outputs. Each is optional.
type secrets struct {
	server.Secrets
	// UptimeRobotKey is a main API key of UptimeRobot, which probes the site from outside.
	UptimeRobotKey string `config:"uptimeRobotKey"`
	// UptimeRobotWebhook is the URL of VictorOps's integration "Uptime Robot" that is notified of outages, including the
	// routing key. After loading, it ends with a question mark, as UptimeRobot requires.
	UptimeRobotWebhook string `config:"uptimeRobotWebhook"`
}

// Secrets returns the server's secrets as a secret output of server.Secrets.
func (c *Config) Secrets() pulumi.Output { return pulumi.ToSecret(c.secret.Secrets) }

// UptimeRobotKey returns the key as a secret output, or nil if it is not set.
func (c *Config) UptimeRobotKey() pulumi.StringPtrInput { return secretOutput(c.secret.UptimeRobotKey) }

// UptimeRobotWebhook returns the URL as a secret output, or nil if it is not set.
func (c *Config) UptimeRobotWebhook() pulumi.StringPtrInput {
	return secretOutput(c.secret.UptimeRobotWebhook)
}

func secretOutput(value string) pulumi.StringPtrInput {
	if value == "" {
		return nil
	}
	return pulumi.ToSecret(pulumi.String(value)).(pulumi.StringOutput).ToStringPtrOutput()
}

// StatusPageName returns the domain name of the public status page, or "" without one. The page requires an UptimeRobot
// key.
func (c *Config) StatusPageName() string {
	if c.secret.UptimeRobotKey == "" || !c.StatusPage {
		return ""
	}
	return "status." + c.Domain
}

// DNSRecord is a set of DNS records with one name and type.
type DNSRecord struct {
	// Name is a fully qualified name without a trailing dot: example.org.
	Name string `json:"name"`
	// Type is AAAA, CAA, CNAME, MX, NS, SRV, TXT or A.
	Type string `json:"type"`
	// TTL is in seconds. Default: 3600.
	TTL int `json:"ttl"`
	// Values are in zone file format, such as "10 mail.example.org.", except that the text of a TXT record is not quoted.
	Values []string `json:"values"`
}

// Defaults returns the default configuration. Pulumi.yaml states the same values; a test compares them.
func Defaults() Config {
	var config Config
	server.SetDefaults(&config)
	return config
}
