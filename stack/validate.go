package stack

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// host matches a DNS host name (RFC 1123) of at least two labels, in lower case.
var host = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

var (
	amiID        = regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`)
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9]+$`)
	// small matches what has 1 GiB of memory or less.
	small  = regexp.MustCompile(`\.(nano|micro)$`)
	region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	zoneID = regexp.MustCompile(`^Z[0-9A-Z]{1,31}$`)
	// recordName matches the name of a DNS record, which may have labels that
	// begin with an underscore, and may begin with a wildcard.
	recordName = regexp.MustCompile(`^(\*\.)?(_?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// duration is Prometheus' form of a time.
	duration   = regexp.MustCompile(`^[1-9]\d{0,4}[hdwy]$`)
	apiKey     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	robotKey   = regexp.MustCompile(`^u[0-9][0-9A-Za-z-]{10,100}$`)
	routingKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	word       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)
	// login is what Debian's useradd accepts.
	login = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
)

// reservedLogins exist on every server or are used while it is provisioned.
var reservedLogins = []string{"root", "bootstrap", "site-agent", "daemon", "bin", "sys", "nobody", "sshd", "www-data"}

// validate checks what was read and completes it: key files become their lines.
func (c *Config) validate() Problems {
	v := &validator{}

	v.check(regionKey, region.MatchString(c.Region), "%q is not an AWS region; write one such as eu-central-1", c.Region)

	if c.Domain == "" {
		v.add("domain", "not set; write the site's name: pulumi config set domain example.org")
	} else {
		v.hostName("domain", c.Domain)
	}
	for i, alias := range c.Aliases {
		v.hostName(fmt.Sprintf("aliases[%d]", i), alias)
		v.check(fmt.Sprintf("aliases[%d]", i), alias != c.Domain && !slices.Contains(c.Aliases[:i], alias), "%q is there already; remove it", alias)
	}

	v.check("zoneId", c.ZoneID == "" || zoneID.MatchString(c.ZoneID), "%q is not the id of a hosted zone; write one such as Z0123456789ABCDEFGHIJ, or leave it out to make the DNS records by hand", c.ZoneID)
	v.dnsRecords(c)

	directory, err := url.Parse(c.ACMEDirectory)
	v.check("acmeDirectory", err == nil && directory.Scheme == "https" && directory.Host != "", "%q is not the URL of an ACME directory; write one such as %s", c.ACMEDirectory, Defaults().ACMEDirectory)
	if c.ACMEEmail == "" {
		v.add("acmeEmail", "not set; write your e-mail address, by which the certificate authority knows your account: pulumi config set acmeEmail admin@example.org")
	} else {
		address, err := mail.ParseAddress(c.ACMEEmail)
		v.check("acmeEmail", err == nil && address.Address == c.ACMEEmail, "%q is not an e-mail address; write one such as admin@example.org", c.ACMEEmail)
	}
	if c.ACMECA != "" {
		var reason string
		c.ACMERoots, reason = roots(c.ACMECA)
		v.check("acmeCA", reason == "", "%s; write the path of a PEM file with the authority's roots, or leave it out if every system trusts them", reason)
	}

	v.admins(c.Admins)
	v.between("sshPort", c.SSHPort, 1, 65535)
	v.check("sshPort", c.SSHPort != 80 && c.SSHPort != 443, "%d belongs to the web server; choose another port, such as 12222", c.SSHPort)
	if len(c.SSHAllowFrom) == 0 {
		v.add("sshAllowFrom", `not set, so that nobody could provision a server; write the CIDR blocks that may reach SSH: pulumi config set --path 'sshAllowFrom[0]' 192.0.2.7/32`)
	}
	for i, block := range c.SSHAllowFrom {
		v.cidr(fmt.Sprintf("sshAllowFrom[%d]", i), block)
	}

	if c.AMI == "" {
		v.add("ami", "not set; write the id of a Debian 13 image in your region (owner 136693071363, name debian-13-%s-*)", c.Architecture())
	} else {
		v.check("ami", amiID.MatchString(c.AMI), "%q is not an AMI id; write one such as ami-0123456789abcdef0", c.AMI)
	}
	v.check("instanceType", instanceType.MatchString(c.InstanceType), "%q is not an instance type; write one such as t4g.micro", c.InstanceType)
	v.check("instanceType", !c.Grafana || !small.MatchString(c.InstanceType), "%s has not the memory for Grafana; write t4g.small, or do without: pulumi config set grafana false", c.InstanceType)
	v.between("rootVolumeSize", c.RootVolumeSize, 8, 16384)
	v.between("generation", c.Generation, 0, 1<<31-1)
	v.between("provisioningTimeout", c.ProvisioningTimeout, 1, 25)
	v.vpc("vpcCidr", c.VpcCIDR)

	v.directory("siteDir", c.SiteDir)
	v.check("jekyllEnv", c.JekyllEnv != "", "is empty; write production or development")
	v.between("releasesKept", c.ReleasesKept, 1, 100)
	v.check("metricsRetention", duration.MatchString(c.MetricsRetention), "%q is not a duration of Prometheus; write one such as 90d or 1y", c.MetricsRetention)
	v.check("victorOpsKey", c.VictorOpsKey == "" || apiKey.MatchString(c.VictorOpsKey), "is not the key of a REST integration, which is like 01234567-89ab-cdef-0123-456789abcdef; write it with pulumi config set --secret victorOpsKey, or leave it out")
	v.check("victorOpsRouting", routingKey.MatchString(c.VictorOpsRouting), "%q is not a routing key; write the one that you made in Splunk On-Call, such as default", c.VictorOpsRouting)
	v.check("grafanaGitHubSecret", (c.GrafanaGitHubSecret == "") == (c.GrafanaGitHubID == ""), "goes with grafanaGitHubId: set both, the secret with pulumi config set --secret grafanaGitHubSecret, or none")
	v.check("grafanaGitHubId", c.GrafanaGitHubID == "" || word.MatchString(c.GrafanaGitHubID), "%q is not the client id of a GitHub OAuth app", c.GrafanaGitHubID)
	v.check("grafanaGitHubOrganizations", c.GrafanaGitHubID == "" || len(c.GrafanaGitHubOrganizations) > 0, "not set, so that everybody with a GitHub account could log in; write the organizations whose members may")
	for i, organization := range c.GrafanaGitHubOrganizations {
		v.check(fmt.Sprintf("grafanaGitHubOrganizations[%d]", i), word.MatchString(organization), "%q is not the name of a GitHub organization", organization)
	}
	// An alert tells of a backup that is 15 minutes old.
	v.between("backupInterval", c.BackupInterval, 15, 600)
	v.between("backupRetention", c.BackupRetention, 2, 8760)
	v.uptimeRobot(c)
	v.between("backupVersionsKept", c.BackupVersionsKept, 1, 100)
	v.between("backupVersionDays", c.BackupVersionDays, 1, 3650)
	return v.problems
}

// uptimeRobot checks how the site is watched from outside, and completes it.
func (v *validator) uptimeRobot(c *Config) {
	v.check("uptimeRobotKey", c.UptimeRobotKey == "" || robotKey.MatchString(c.UptimeRobotKey), "is not a main API key of UptimeRobot, which is like "+
		"u1234567-0123456789abcdef01234567; those that begin with ur or m may only read. Write it with pulumi config set --secret uptimeRobotKey, or leave it out")
	api, err := url.Parse(c.UptimeRobotAPI)
	v.check("uptimeRobotAPI", err == nil && api.Scheme == "https" && api.Host != "", "%q is not the URL of an API; write one such as %s", c.UptimeRobotAPI, Defaults().UptimeRobotAPI)
	v.between("uptimeRobotInterval", c.UptimeRobotInterval, 30, 86400)
	if c.UptimeRobotWebhook == "" {
		return
	}
	v.check("uptimeRobotWebhook", c.UptimeRobotKey != "", "goes with uptimeRobotKey: set both, or none")
	webhook, err := url.Parse(c.UptimeRobotWebhook)
	v.check("uptimeRobotWebhook", err == nil && webhook.Scheme == "https" && webhook.Host != "" && webhook.RawQuery == "" && webhook.Fragment == "",
		"is not the URL of the integration Uptime Robot in Splunk On-Call; copy it from there, and write it with pulumi config set --secret uptimeRobotWebhook")
	v.check("uptimeRobotWebhook", !strings.Contains(c.UptimeRobotWebhook, "$routing_key"), "still has $routing_key at its end; write a routing key of yours there, such as default")
	c.UptimeRobotWebhook = strings.TrimSuffix(c.UptimeRobotWebhook, "?") + "?"
}

type validator struct {
	problems Problems
}

func (v *validator) add(key, format string, args ...any) {
	v.problems = append(v.problems, Problem{key, fmt.Sprintf(format, args...)})
}

func (v *validator) check(key string, ok bool, format string, args ...any) {
	if !ok {
		v.add(key, format, args...)
	}
}

func (v *validator) between(key string, value, low, high int) {
	v.check(key, value >= low && value <= high, "%d is out of range; write a whole number from %d to %d", value, low, high)
}

func (v *validator) hostName(key, name string) {
	v.check(key, len(name) <= 253 && host.MatchString(name),
		"%q is not a host name; write it in lower case, without a scheme or a slash, such as example.org", name)
}

// recordTypes are the types of DNS records that a stack may add.
var recordTypes = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}

// dnsRecords checks the further records and completes them.
func (v *validator) dnsRecords(c *Config) {
	type set struct{ name, kind string }
	known := map[set]bool{}
	for _, name := range c.Names() {
		known[set{name, "A"}] = true
	}
	if page := c.StatusPageName(); page != "" {
		known[set{page, "CNAME"}] = true
	}
	for i := range c.DNSRecords {
		record := &c.DNSRecords[i]
		key := fmt.Sprintf("dnsRecords[%d]", i)
		v.check(key+".name", len(record.Name) <= 253 && recordName.MatchString(record.Name),
			"%q is not the full name of a record; write it in lower case, without a dot at its end, such as www.example.org", record.Name)
		v.check(key+".type", slices.Contains(recordTypes, record.Type), "%q is not a type that can be set; write one of %s", record.Type, strings.Join(recordTypes, ", "))
		if record.TTL == 0 {
			record.TTL = 3600
		}
		v.between(key+".ttl", record.TTL, 1, 604800)
		v.check(key+".values", len(record.Values) > 0 && !slices.Contains(record.Values, ""), "has none, or an empty one; write a list such as [\"10 mail.example.org.\"]")
		v.check(key+".values", record.Type != "CNAME" || len(record.Values) < 2, "a name has one CNAME, and here are %d; write one value", len(record.Values))
		v.check(key+".name", !known[set{record.Name, record.Type}], "%s already has records of type %s; write all values of a name and type into one entry, and none of type A for the site's own names", record.Name, record.Type)
		known[set{record.Name, record.Type}] = true
	}
	for i, record := range c.DNSRecords {
		if record.Name == c.StatusPageName() && record.Type != "CNAME" {
			v.add(fmt.Sprintf("dnsRecords[%d].name", i), "%s is the status page's, and nothing stands beside its CNAME record; remove the entry, or write statusPage: false", record.Name)
		}
		if record.Type != "CNAME" {
			continue
		}
		for other := range known {
			if other.name == record.Name && other.kind != "CNAME" {
				v.add(fmt.Sprintf("dnsRecords[%d].type", i), "%s has a record of type %s, and so cannot have a CNAME; remove one of them", record.Name, other.kind)
				break
			}
		}
	}
}

// roots reads a PEM file of certificates. The reason says why it is refused.
func roots(path string) (text, reason string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Sprintf("cannot read %s", path)
	}
	certificates := 0
	for rest := content; ; certificates++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return "", fmt.Sprintf("%s has a %s in it, not only certificates", path, block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", fmt.Sprintf("%s has a certificate that cannot be read", path)
		}
	}
	if certificates == 0 {
		return "", fmt.Sprintf("there is no certificate in %s", path)
	}
	return string(content), ""
}

func (v *validator) cidr(key, block string) {
	prefix, err := netip.ParsePrefix(block)
	switch {
	case err != nil || !prefix.Addr().Is4():
		v.add(key, "%q is not an IPv4 CIDR block; write one such as 192.0.2.0/24", block)
	case prefix != prefix.Masked():
		v.add(key, "%q has bits set beyond its prefix; write %s", block, prefix.Masked())
	}
}

func (v *validator) vpc(key, block string) {
	before := len(v.problems)
	v.cidr(key, block)
	if len(v.problems) > before {
		return
	}
	prefix := netip.MustParsePrefix(block)
	// The limits are those of the EC2 API; a /24 of it becomes the subnet.
	v.check(key, prefix.Bits() >= 16 && prefix.Bits() <= 24, "%q is not between /16 and /24; write one such as 10.42.0.0/16", block)
	v.check(key, prefix.Addr().IsPrivate(), "%q is not in a private range; write one such as 10.42.0.0/16", block)
}

func (v *validator) directory(key, path string) {
	info, err := os.Stat(path)
	v.check(key, path != "" && err == nil && info.IsDir(), "there is no directory %q in the project; write the path of the Jekyll site, such as site", path)
}

func (v *validator) admins(admins []Admin) {
	if len(admins) == 0 {
		v.add("admins", `not set; write who may log in: pulumi config set --path 'admins[0].name' admin and pulumi config set --path 'admins[0].keys[0]' ~/.ssh/id_ed25519.pub`)
	}
	for i := range admins {
		admin := &admins[i]
		key := fmt.Sprintf("admins[%d]", i)
		v.check(key+".name", login.MatchString(admin.Name), "%q is not a login name; write lower-case letters, digits, - and _, such as admin", admin.Name)
		v.check(key+".name", !slices.Contains(reservedLogins, admin.Name), "%q is taken on every server; choose another name", admin.Name)
		twin := slices.ContainsFunc(admins[:i], func(other Admin) bool { return other.Name == admin.Name })
		v.check(key+".name", !twin, "%q is there twice; put all keys of one admin into one entry", admin.Name)
		v.check(key+".keys", len(admin.Keys) > 0, "has no key; write an authorized_keys line or the path of a public key file")

		var lines []string
		for j, entry := range admin.Keys {
			read, reason := authorizedKeys(entry)
			v.check(fmt.Sprintf("%s.keys[%d]", key, j), reason == "", "%s", reason)
			lines = append(lines, read...)
		}
		admin.Keys = lines
	}
}

// authorizedKeys reads an entry of an admin's keys, which is a line or the path
// of a file of lines. The reason says why it is refused; it is "" if it is not.
func authorizedKeys(entry string) (lines []string, reason string) {
	if path, ok := keyFile(entry); ok {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Sprintf("cannot read the key file %s; write the path of a public key, or the key itself", entry)
		}
		for line := range strings.Lines(string(content)) {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if reason := checkKey(line); reason != "" {
				return nil, fmt.Sprintf("in %s: %s", entry, reason)
			}
			lines = append(lines, line)
		}
		if len(lines) == 0 {
			return nil, fmt.Sprintf("the key file %s holds no key", entry)
		}
		return lines, ""
	}
	return []string{strings.TrimSpace(entry)}, checkKey(entry)
}

func keyFile(entry string) (path string, ok bool) {
	if rest, ok := strings.CutPrefix(entry, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return entry, true
		}
		return filepath.Join(home, rest), true
	}
	return entry, strings.HasPrefix(entry, "/") || strings.HasPrefix(entry, "./")
}

func checkKey(line string) (reason string) {
	if strings.Contains(line, "PRIVATE KEY") {
		return "this is a private key; write the public one (its file ends in .pub)"
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return "not an authorized_keys line; write one such as ssh-ed25519 AAAA... name, or the path of a public key file"
	}
	if key.Type() == "ssh-dss" {
		return "DSA keys are no longer accepted by OpenSSH; write an ed25519 key"
	}
	return ""
}
