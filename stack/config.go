// Package stack is the typed configuration of one stack: what may be set, what
// it defaults to, and what is wrong with it.
package stack

import (
	"fmt"
	"regexp"
)

// Config is the configuration of one stack. The key of each field in
// Pulumi.<stack>.yaml is in its tag, and whether its value has to be encrypted
// there; Pulumi.yaml describes every key.
type Config struct {
	// Region is the AWS region, from the key aws:region.
	Region string

	// Domain is the site's name, without a scheme: example.org.
	Domain string `config:"domain"`
	// Aliases are further names of the site.
	Aliases []string `config:"aliases"`

	// ZoneID is the id of the Route 53 hosted zone that holds the names, or "":
	// then somebody makes the DNS records by hand.
	ZoneID string `config:"zoneId"`
	// DNSRecords are further records of the zone.
	DNSRecords []DNSRecord `config:"dnsRecords"`

	// ACMEDirectory is the URL of the directory of the authority (RFC 8555) that
	// issues the site's certificate.
	ACMEDirectory string `config:"acmeDirectory"`
	// ACMEEmail is where that authority may write to. Traefik knows its account
	// there by it, and without it makes another one whenever it starts.
	ACMEEmail string `config:"acmeEmail"`
	// ACMECA is the path of a PEM file with the roots of that authority, or ""
	// where it is one that every system trusts.
	ACMECA string `config:"acmeCA"`
	// ACMERoots is what is in the file ACMECA.
	ACMERoots string

	// Admins may log in to every server and become root there.
	Admins []Admin `config:"admins"`
	// SSHPort is the port of the servers' SSH daemon.
	SSHPort int `config:"sshPort"`
	// SSHAllowFrom are the CIDR blocks that reach the SSH port. The machine
	// that runs pulumi must be in one of them.
	SSHAllowFrom []string `config:"sshAllowFrom"`
	// SSHFromRunner gives servers a security group that lets in the machine that deploys, for the time of an update.
	SSHFromRunner bool `config:"sshFromRunner"`

	// AMI is the id of a Debian 13 image for the architecture of InstanceType.
	AMI string `config:"ami"`
	// InstanceType is the EC2 instance type; its family decides the architecture.
	InstanceType string `config:"instanceType"`
	// RootVolumeSize is in GiB.
	RootVolumeSize int `config:"rootVolumeSize"`
	// Generation forces a new server when it changes, though nothing else did.
	Generation int `config:"generation"`
	// ProvisioningTimeout is how many minutes a new server has to boot, and
	// again how many it has to become ready then.
	ProvisioningTimeout int `config:"provisioningTimeout"`
	// PHPEgress lets the scripts of the site connect to others. Mail is sent without it, too.
	PHPEgress bool `config:"phpEgress"`
	// HSTSMaxAge is for how many seconds browsers ask for the site by HTTPS only. 0 takes that back.
	HSTSMaxAge int `config:"hstsMaxAge"`
	// HSTSIncludeSubDomains extends that to every name below the site's.
	HSTSIncludeSubDomains bool `config:"hstsIncludeSubDomains"`
	// HSTSPreload asks browser vendors to have it in their browsers, for good.
	HSTSPreload bool `config:"hstsPreload"`

	// SMTPHost is the SMTP relay of PHP's mail(). Optional: without it, mail() fails.
	SMTPHost string `config:"smtpHost"`
	// SMTPPort is the relay's port; at 465 TLS begins at once, elsewhere by STARTTLS.
	SMTPPort int `config:"smtpPort"`
	// SMTPUser and SMTPPassword log in there. Optional; the second is secret.
	SMTPUser     string `config:"smtpUser"`
	SMTPPassword string `config:"smtpPassword" secret:"true"`
	// SMTPFrom is the envelope sender of every message. Where there is a relay, it is
	// noreply@<domain> after loading if it was not set.
	SMTPFrom string `config:"smtpFrom"`

	// VpcCIDR is the VPC's address range.
	VpcCIDR string `config:"vpcCidr"`

	// ServerBoundary is the ARN of the managed policy that bounds what the servers' role may do, or "" for none.
	// A deployment by a workflow needs it: docs/github.md.
	ServerBoundary string `config:"serverBoundary"`

	// SiteDir is the directory of the Jekyll site, relative to the project.
	SiteDir string `config:"siteDir"`
	// BuildCommand builds the site into _site; "" chooses by whether there is a Gemfile.
	BuildCommand string `config:"buildCommand"`
	// JekyllEnv is JEKYLL_ENV of the build.
	JekyllEnv string `config:"jekyllEnv"`
	// ReleasesKept is how many releases a server keeps beside the current one.
	ReleasesKept int `config:"releasesKept"`

	// MetricsRetention is for how long a server keeps what it measured, as
	// Prometheus writes it: 90d.
	MetricsRetention string `config:"metricsRetention"`
	// VictorOpsKey is the key of the REST integration of VictorOps (now Splunk
	// On-Call) that alerts go to. Optional, and secret: without it, nobody is told.
	VictorOpsKey string `config:"victorOpsKey" secret:"true"`
	// VictorOpsRouting is the routing key there.
	VictorOpsRouting string `config:"victorOpsRouting"`
	// HeartbeatURL is the URL of a heartbeat monitor, to which the server posts each minute
	// as long as its alerts work. Optional, and secret.
	HeartbeatURL string `config:"heartbeatURL" secret:"true"`
	// Grafana runs Grafana at monitoring.<domain>.
	Grafana bool `config:"grafana"`
	// GrafanaGitHubID and GrafanaGitHubSecret are of the GitHub OAuth app by which
	// people log in to Grafana. Optional; the second is secret.
	GrafanaGitHubID     string `config:"grafanaGitHubId"`
	GrafanaGitHubSecret string `config:"grafanaGitHubSecret" secret:"true"`
	// GrafanaGitHubOrganizations are the GitHub organizations whose members may log in.
	GrafanaGitHubOrganizations []string `config:"grafanaGitHubOrganizations"`

	// UptimeRobotKey is a main API key of the account at UptimeRobot, which watches
	// the site from outside. Optional, and secret: without it, nobody does.
	UptimeRobotKey string `config:"uptimeRobotKey" secret:"true"`
	// UptimeRobotAPI is the URL of its API.
	UptimeRobotAPI string `config:"uptimeRobotAPI"`
	// UptimeRobotWebhook is the URL of VictorOps' integration "Uptime Robot", with the
	// routing key, which is told of outages. Optional, and secret. After loading it
	// ends with a question mark, as UptimeRobot wants it.
	UptimeRobotWebhook string `config:"uptimeRobotWebhook" secret:"true"`
	// UptimeRobotInterval is how many seconds pass between two looks at the site.
	UptimeRobotInterval int `config:"uptimeRobotInterval"`
	// StatusPage shows the state of the site to everybody, at status.<domain>.
	StatusPage bool `config:"statusPage"`

	// Protect refuses the deletion of what cannot be made again: the VIP, the
	// backup bucket and the SSH keys.
	Protect bool `config:"protect"`
	// BackupInterval is how many seconds pass between two backups of a server, which
	// is what a crash can lose.
	BackupInterval int `config:"backupInterval"`
	// BackupRetention is for how many hours back a backup can be restored.
	BackupRetention int `config:"backupRetention"`
	// BackupVersionsKept is how many noncurrent versions of each backup object are kept.
	BackupVersionsKept int `config:"backupVersionsKept"`
	// BackupVersionDays is for how many days at least a noncurrent version is kept.
	BackupVersionDays int `config:"backupVersionDays"`
}

// Names are all names of the site: its own, which is the first, its aliases, and
// that of Grafana where it runs.
func (c *Config) Names() []string {
	names := append([]string{c.Domain}, c.Aliases...)
	if c.Grafana {
		names = append(names, "monitoring."+c.Domain)
	}
	return names
}

// HSTS is the value of the header Strict-Transport-Security (RFC 6797).
func (c *Config) HSTS() string {
	value := fmt.Sprintf("max-age=%d", c.HSTSMaxAge)
	if c.HSTSIncludeSubDomains {
		value += "; includeSubDomains"
	}
	if c.HSTSPreload {
		value += "; preload"
	}
	return value
}

// StatusPageName is the name of the public status page, or "": without a key of
// UptimeRobot, there is none.
func (c *Config) StatusPageName() string {
	if c.UptimeRobotKey == "" || !c.StatusPage {
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
	// TTL is in seconds. Defaulted: 3600.
	TTL int `json:"ttl"`
	// Values are in the form of a zone file, such as "10 mail.example.org."; the
	// text of a TXT record is without quotes.
	Values []string `json:"values"`
}

// Admin is a person with a login on every server.
type Admin struct {
	// Name is the login name.
	Name string `json:"name"`
	// Keys are authorized_keys lines, or paths of files that hold such lines
	// (beginning with "/", "./" or "~/"). After loading they are lines only.
	Keys []string `json:"keys"`
}

// Defaults is the configuration of a stack that sets nothing. Pulumi.yaml
// states the same values; a test compares them.
func Defaults() Config {
	return Config{
		Aliases:             []string{},
		DNSRecords:          []DNSRecord{},
		ACMEDirectory:       "https://acme-v02.api.letsencrypt.org/directory",
		Admins:              []Admin{},
		SSHPort:             12222,
		SSHAllowFrom:        []string{},
		InstanceType:        "t4g.small",
		RootVolumeSize:      20,
		Generation:          1,
		ProvisioningTimeout: 15,
		VpcCIDR:             "10.42.0.0/16",
		HSTSMaxAge:          preloadMaxAge,
		SMTPPort:            587,
		SiteDir:             "site",
		JekyllEnv:           "production",
		ReleasesKept:        3,
		MetricsRetention:    "90d",
		VictorOpsRouting:    "default",
		Grafana:             true,

		GrafanaGitHubOrganizations: []string{},

		UptimeRobotAPI:      "https://api.uptimerobot.com/v3",
		UptimeRobotInterval: 300,
		StatusPage:          true,

		Protect:            true,
		BackupInterval:     60,
		BackupRetention:    24,
		BackupVersionsKept: 30,
		BackupVersionDays:  30,
	}
}

// graviton matches the instance families of AWS's ARM processors: a letter or
// two, the generation, then a "g" among the attributes (t4g, m7gd, c6gn).
var graviton = regexp.MustCompile(`^[a-z]+\d+g[a-z]*\.|^a1\.`)

// Architecture is the instance type's architecture in Go's and Debian's words:
// "arm64" or "amd64".
func (c *Config) Architecture() string {
	if graviton.MatchString(c.InstanceType) {
		return "arm64"
	}
	return "amd64"
}
