package stack

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"immutable-infra/server"
)

// host matches a lower-case DNS host name (RFC 1123) with at least two labels.
var host = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

var (
	amiID        = regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`)
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9]+$`)
	// small matches types with 1 GiB of memory or less, tooSmall those with less than 1 GiB.
	small    = regexp.MustCompile(`\.(nano|micro)$`)
	tooSmall = regexp.MustCompile(`\.nano$|^t1\.`)
	// unbootable matches types that cannot boot Debian 13: Macs, and first generations, which boot only paravirtual
	// images.
	unbootable = regexp.MustCompile(`^(mac|t1\.|m1\.|m2\.|c1\.)`)
	region     = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	zoneID     = regexp.MustCompile(`^Z[0-9A-Z]{1,31}$`)
	// policyARN matches a customer-managed policy.
	policyARN = regexp.MustCompile(`^arn:aws:iam::\d{12}:policy/[\w+=,.@/-]+$`)
	// duration matches a Prometheus duration.
	duration   = regexp.MustCompile(`^[1-9]\d{0,4}[hdwy]$`)
	apiKey     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	robotKey   = regexp.MustCompile(`^u[0-9][0-9A-Za-z-]{10,100}$`)
	routingKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	word       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)
	// login matches names that Debian's useradd accepts, except those starting with "_", which packages use.
	login = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
)

// validator collects the problems of a configuration.
type validator struct {
	source
	problems Problems
}

func (v *validator) add(key, reason string, commands ...string) {
	v.problems = append(v.problems, Problem{key, reason, commands})
}

// check adds a problem with a value unless ok is true.
func (v *validator) check(ok bool, key, value, reason, example string) {
	if !ok {
		v.add(key, v.redacted(key, value)+" "+reason, v.toSet(key, example))
	}
}

// missing adds a problem for a key that is not set.
func (v *validator) missing(key, reason, example string) {
	v.add(key, "not set; "+reason, v.toSet(key, example))
}

func (v *validator) between(key string, value, low, high, example int) {
	if value < low || value > high {
		v.add(key, fmt.Sprintf("%s is out of range; write an integer from %d to %d", v.redactedNumber(key, value), low, high),
			v.toSet(key, strconv.Itoa(example)))
	}
}

// redacted returns a value for a message, or a placeholder if the value must not be shown.
func (v *validator) redacted(key, value string) string {
	if v.hidden(key) {
		return "the value"
	}
	return strconv.Quote(value)
}

func (v *validator) redactedNumber(key string, value int) string {
	if v.hidden(key) {
		return "the value"
	}
	return strconv.Itoa(value)
}

// validate validates a configuration and completes it; it replaces key files by their lines.
func (v *validator) validate(c *Config) {
	defaults := Defaults()
	preset := defaults.settings()
	for i, setting := range c.settings() {
		if setting.high > 0 {
			v.between(setting.key, int(setting.value.Int()), setting.low, setting.high, int(preset[i].value.Int()))
		}
	}

	if c.Region == "" {
		v.missing(regionKey, "write the name of an AWS region", "eu-central-1")
	} else {
		v.check(region.MatchString(c.Region), regionKey, c.Region, "is not an AWS region; write the name of one",
			"eu-central-1")
	}
	if c.Domain == "" {
		v.missing("domain", "write the site's name", "example.org")
	} else {
		v.hostName("domain", c.Domain, "example.org")
		v.check(len(c.Domain) <= maxDomain, "domain", c.Domain,
			"is too long for monitoring.<domain> to be a name; write a shorter one", "example.org")
	}
	for i, alias := range c.Aliases {
		key := indexKey("aliases", i)
		v.hostName(key, alias, "www.example.org")
		if alias == c.Domain || slices.Contains(c.Aliases[:i], alias) {
			v.add(key, v.redacted(key, alias)+" is a duplicate; write each name once", v.toRemove(key))
		}
	}

	v.check(c.ZoneID == "" || zoneID.MatchString(c.ZoneID), "zoneId", c.ZoneID,
		"is not the id of a hosted zone; write that of your Route 53 zone, or leave it out to make the DNS records by hand",
		examples("zoneId", ""))
	v.reservedNames(c)
	v.dnsRecords(c)

	const unholdable = "has a backslash, or a ' beside a \", a $ or a `, which the server's environment cannot hold; " +
		"write one without them"
	if !isHTTPS(c.ACMEDirectory) {
		v.check(false, "acmeDirectory", c.ACMEDirectory,
			"is not the URL of an ACME directory; write one that begins with https://", defaults.ACMEDirectory)
	} else {
		v.check(server.EnvironmentTakes(c.ACMEDirectory), "acmeDirectory", c.ACMEDirectory, unholdable,
			defaults.ACMEDirectory)
	}
	switch {
	case c.ACMEEmail == "":
		v.missing("acmeEmail", "write your e-mail address, the contact of your account at the certificate authority",
			examples("acmeEmail", ""))
	case !isAddress(c.ACMEEmail):
		v.check(false, "acmeEmail", c.ACMEEmail, "is not an e-mail address; write yours, without a name",
			examples("acmeEmail", ""))
	default:
		v.check(server.EnvironmentTakes(c.ACMEEmail), "acmeEmail", c.ACMEEmail, unholdable, examples("acmeEmail", ""))
	}
	if c.ACMECA != "" {
		var reason string
		c.ACMERoots, reason = roots(c.ACMECA)
		v.check(reason == "", "acmeCA", c.ACMECA,
			reason+"; write the path of a PEM file with the authority's roots, or leave it out if every system trusts them",
			examples("acmeCA", ""))
	}

	v.admins(c.Admins)
	if c.SSHPort == 80 || c.SSHPort == 443 {
		v.add("sshPort", v.redactedNumber("sshPort", c.SSHPort)+" belongs to the web server; write another port",
			v.toSet("sshPort", strconv.Itoa(defaults.SSHPort)))
	}
	if len(c.SSHAllowFrom) == 0 && !c.SSHFromRunner {
		v.add("sshAllowFrom",
			"not set, so no machine could provision a server; write the IPv4 CIDR blocks that may reach SSH, such as "+
				"192.0.2.7/32", v.toSet("sshAllowFrom[0]", ownAddress))
	}
	v.runner(c)
	if len(c.SSHAllowFrom) > maxBlocks {
		v.add("sshAllowFrom",
			fmt.Sprintf("has %d blocks, and EC2 allows 60 rules in all; write at most %d", len(c.SSHAllowFrom), maxBlocks),
			v.toSet("sshAllowFrom", examples("sshAllowFrom", "")))
	}
	for i, block := range c.SSHAllowFrom {
		key := indexKey("sshAllowFrom", i)
		v.cidr(key, block, ownAddress)
		if slices.Contains(c.SSHAllowFrom[:i], block) {
			v.add(key, v.redacted(key, block)+" is a duplicate, which EC2 rejects; write each block once", v.toRemove(key))
		}
	}

	if c.AMI == "" {
		v.missing("ami", "write the id of an image of Debian 13 in your region, such as ami-0123456789abcdef0",
			c.newestImage())
	} else {
		v.check(amiID.MatchString(c.AMI), "ami", c.AMI,
			"is not an AMI id; write that of an image of Debian 13 in your region, such as ami-0123456789abcdef0",
			c.newestImage())
	}
	v.check(instanceType.MatchString(c.InstanceType), "instanceType", c.InstanceType,
		"is not an EC2 instance type; write one", defaults.InstanceType)
	switch {
	case unbootable.MatchString(c.InstanceType):
		v.check(false, "instanceType", c.InstanceType, "cannot boot Debian 13; write a type of a current generation",
			defaults.InstanceType)
	case tooSmall.MatchString(c.InstanceType):
		v.check(false, "instanceType", c.InstanceType,
			"is too small: a server needs about 0.9 GiB of memory; write a type with 1 GiB or more, or with 2 GiB or more for "+
				"Grafana", defaults.InstanceType)
	case c.Grafana && small.MatchString(c.InstanceType):
		v.add("instanceType",
			v.redacted("instanceType", c.InstanceType)+
				" is too small for Grafana; write a type with 2 GiB or more, or set grafana to false",
			v.toSet("instanceType", defaults.InstanceType), v.toSet("grafana", "false"))
	}
	v.vpc("vpcCidr", c.VpcCIDR, defaults.VpcCIDR)

	v.check(c.ServerBoundary == "" || policyARN.MatchString(c.ServerBoundary), "serverBoundary", c.ServerBoundary,
		"is not the ARN of a managed policy; write the one that make access prints for the stack, or leave it out where no "+
			"workflow deploys", examples("serverBoundary", ""))

	info, err := os.Stat(c.SiteDir)
	v.check(c.SiteDir != "" && err == nil && info.IsDir(), "siteDir", c.SiteDir,
		"is no directory; write the path of the Jekyll site", defaults.SiteDir)
	v.check(c.JekyllEnv != "", "jekyllEnv", c.JekyllEnv, "is empty; write production or development", defaults.JekyllEnv)

	v.hsts(c)
	v.smtp(c)
	v.monitoring(c)
	v.uptimeRobot(c)
	if len(v.problems) == 0 {
		v.userDataFits(c)
	}
}

// runner reads the address of the machine that deploys from the environment. It is not in the configuration, because it
// differs each time.
func (v *validator) runner(c *Config) {
	if !c.SSHFromRunner {
		return
	}
	c.RunnerBlock = os.Getenv("SSH_FROM")
	prefix, err := netip.ParsePrefix(c.RunnerBlock)
	if c.RunnerBlock != "" && (err != nil || !prefix.Addr().Is4() || prefix != prefix.Masked() || prefix.Bits() < 24) {
		v.add("SSH_FROM",
			fmt.Sprintf("%q is not the address of one machine; write one such as 203.0.113.7/32", c.RunnerBlock))
	}
}

// monitoring validates the settings of metrics, alerts and Grafana.
func (v *validator) monitoring(c *Config) {
	defaults := Defaults()
	v.check(duration.MatchString(c.MetricsRetention), "metricsRetention", c.MetricsRetention,
		"is not a Prometheus duration; write hours, days, weeks or years, such as 90d", defaults.MetricsRetention)
	v.check(!duration.MatchString(c.MetricsRetention) || hours(c.MetricsRetention) <= maxRetention, "metricsRetention",
		c.MetricsRetention,
		"is longer than 10 years; write at most 10y", defaults.MetricsRetention)
	v.check(c.secret.VictorOpsKey == "" || apiKey.MatchString(c.secret.VictorOpsKey), "victorOpsKey",
		c.secret.VictorOpsKey,
		"is not the key of a REST integration; write one such as 01234567-89ab-cdef-0123-456789abcdef, or leave it out", "")
	v.check(routingKey.MatchString(c.VictorOpsRouting), "victorOpsRouting", c.VictorOpsRouting,
		"is not a routing key; write one of your routing keys in Splunk On-Call", defaults.VictorOpsRouting)
	v.check(c.secret.HeartbeatURL == "" || isHeartbeat(c.secret.HeartbeatURL), "heartbeatURL", c.secret.HeartbeatURL,
		"is not the URL of a heartbeat monitor; write the one that the monitor shows, "+
			"such as https://heartbeat.uptimerobot.com/m0123456789-0123456789abcdef, without a user or a password", "")
	if c.GrafanaGitHubID != "" && c.secret.GrafanaGitHubSecret == "" {
		v.add("grafanaGitHubSecret", "not set, but required with grafanaGitHubId; set both, or neither",
			v.toSet("grafanaGitHubSecret", ""))
	}
	if c.GrafanaGitHubID == "" && c.secret.GrafanaGitHubSecret != "" {
		v.add("grafanaGitHubId", "not set, but required with grafanaGitHubSecret; set both, or neither",
			v.toSet("grafanaGitHubId", examples("grafanaGitHubId", "")))
	}
	v.check(c.GrafanaGitHubID == "" || word.MatchString(c.GrafanaGitHubID), "grafanaGitHubId", c.GrafanaGitHubID,
		"is not the client id of a GitHub OAuth app; write that of yours", examples("grafanaGitHubId", ""))
	if c.GrafanaGitHubID != "" && len(c.GrafanaGitHubOrganizations) == 0 {
		v.add("grafanaGitHubOrganizations",
			"not set, so everybody with a GitHub account could log in; write the organizations whose members may",
			v.toSet("grafanaGitHubOrganizations[0]", "example"))
	}
	for i, organization := range c.GrafanaGitHubOrganizations {
		v.check(word.MatchString(organization), indexKey("grafanaGitHubOrganizations", i), organization,
			"is not the name of a GitHub organization; write it as its URL has it", "example")
	}
}

// uptimeRobot validates the settings of UptimeRobot, and completes them.
func (v *validator) uptimeRobot(c *Config) {
	defaults := Defaults()
	v.check(c.secret.UptimeRobotKey == "" || robotKey.MatchString(c.secret.UptimeRobotKey), "uptimeRobotKey",
		c.secret.UptimeRobotKey,
		"is not a main API key of UptimeRobot; write one such as u1234567-0123456789abcdef01234567 (keys that begin with "+
			"ur or m are read-only), or leave it out", "")
	v.check(isHTTPS(c.UptimeRobotAPI), "uptimeRobotAPI", c.UptimeRobotAPI,
		"is not the URL of an API; write one that begins with https://", defaults.UptimeRobotAPI)
	if c.secret.UptimeRobotWebhook == "" {
		return
	}
	if c.secret.UptimeRobotKey == "" {
		v.add("uptimeRobotKey", "not set, but required with uptimeRobotWebhook; set both, or neither",
			v.toSet("uptimeRobotKey", ""))
	}
	webhook, err := url.Parse(c.secret.UptimeRobotWebhook)
	v.check(err == nil && webhook.Scheme == "https" && webhook.Host != "" && webhook.RawQuery == "" &&
		webhook.Fragment == "", "uptimeRobotWebhook", c.secret.UptimeRobotWebhook,
		"is not the URL of the integration Uptime Robot in Splunk On-Call; copy it from there, such as "+
			"https://alert.victorops.com/integrations/uptimerobot/20131114/alert/KEY/default", "")
	v.check(!strings.Contains(c.secret.UptimeRobotWebhook, "$routing_key"), "uptimeRobotWebhook",
		c.secret.UptimeRobotWebhook,
		"ends with $routing_key; replace that by one of your routing keys, such as default", "")
	c.secret.UptimeRobotWebhook = strings.TrimSuffix(c.secret.UptimeRobotWebhook, "?") + "?"
}

// indexKey returns the key of a list element, for pulumi config --path.
func indexKey(key string, i int) string {
	return fmt.Sprintf("%s[%d]", key, i)
}

// isHeartbeat reports whether Alertmanager can post to a URL. Its path or query must contain the monitor's token.
func isHeartbeat(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && isHTTPS(address) && parsed.User == nil && !strings.ContainsAny(address, " #") &&
		host.MatchString(strings.ToLower(parsed.Hostname())) &&
		(strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "")
}

func isHTTPS(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && parsed.Scheme == "https" && parsed.Host != ""
}

func (v *validator) hostName(key, name, example string) {
	v.check(len(name) <= 253 && host.MatchString(name), key, name,
		"is not a host name; write it in lower case, without a scheme or a slash", example)
}

// roots reads a PEM file of certificates. reason is why it is rejected, or "".
func roots(path string) (text, reason string) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", "cannot be read"
	}
	certificates := 0
	for rest := content; ; certificates++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return "", fmt.Sprintf("has a %s in it, not only certificates", block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return "", "has a certificate that cannot be read"
		}
	}
	if certificates == 0 {
		return "", "has no certificate in it"
	}
	return string(content), ""
}

func (v *validator) cidr(key, block, example string) {
	prefix, err := netip.ParsePrefix(block)
	if err != nil || !prefix.Addr().Is4() {
		v.check(false, key, block, "is not an IPv4 CIDR block; write an address and the length of its prefix", example)
		return
	}
	if !v.hidden(key) {
		example = prefix.Masked().String()
	}
	v.check(prefix == prefix.Masked(), key, block, "has bits set beyond its prefix; write the block's first address",
		example)
}

func (v *validator) vpc(key, block, example string) {
	before := len(v.problems)
	v.cidr(key, block, example)
	if len(v.problems) > before {
		return
	}
	prefix := netip.MustParsePrefix(block)
	// EC2 limits a VPC to a /16; the subnet is a /24 of the block.
	v.check(prefix.Bits() >= 16 && prefix.Bits() <= 24, key, block,
		"is too large or too small; write a block from /16 to /24", example)
	v.check(prefix.Addr().IsPrivate(), key, block, "is not in a private range; write a block of one (RFC 1918)", example)
}

// ownAddress is a shell word that expands to the machine's public address.
const ownAddress = `"$(curl -s https://checkip.amazonaws.com)/32"`

// newestImage returns a shell word that expands to the id of the newest image of Debian 13.
func (c *Config) newestImage() string {
	in := ""
	if region.MatchString(c.Region) {
		in = " --region " + c.Region
	}
	return fmt.Sprintf(`"$(aws ec2 describe-images%s --owners 136693071363 --filters 'Name=name,Values=debian-13-%s-*' `+
		`--query 'sort_by(Images,&CreationDate)[-1].ImageId' --output text)"`, in, c.Architecture())
}

// ownKey is a shell word that expands to a public key. It is not a path, because the configuration is used on other
// machines.
const ownKey = `"$(cat ~/.ssh/id_ed25519.pub)"`

func (v *validator) admins(admins []server.Admin) {
	if len(admins) == 0 {
		v.add("admins", "not set; write who may log in, with names and public keys", v.toSet("admins[0].name", "ada"),
			v.toSet("admins[0].keys[0]", ownKey))
	}
	for i := range admins {
		admin := &admins[i]
		key := indexKey("admins", i)
		v.check(login.MatchString(admin.Name), key+".name", admin.Name,
			"is not a login name; write at most 32 lower-case letters, digits, - and _, with a letter first", "ada")
		v.check(!reservedLogin(admin.Name), key+".name", admin.Name,
			"is taken by a user or group of the server; write another name", "ada")
		if slices.ContainsFunc(admins[:i], func(other server.Admin) bool { return other.Name == admin.Name }) {
			v.add(key+".name", v.redacted(key, admin.Name)+" is a duplicate; write all keys of one admin into one entry",
				v.toRemove(key))
		}
		if len(admin.Keys) == 0 {
			v.add(key+".keys", "has no key; write an authorized_keys line, or the path of a public key file",
				v.toSet(key+".keys[0]", ownKey))
		}

		var lines []string
		for j, entry := range admin.Keys {
			read, reason := authorizedKeys(entry)
			if reason != "" {
				at := indexKey(key+".keys", j)
				// Never show the key itself: it may be a private key.
				shown := "the value"
				if _, isFile := keyFile(entry); isFile {
					shown = v.redacted(at, entry)
				}
				v.add(at, shown+" "+reason, v.toSet(at, ownKey))
			}
			lines = append(lines, read...)
		}
		admin.Keys = lines
	}
}

// authorizedKeys reads an entry of an admin's keys: a line, or the path of a file of lines. reason is why it is
// rejected, or "".
func authorizedKeys(entry string) (lines []string, reason string) {
	path, ok := keyFile(entry)
	if !ok {
		return []string{strings.TrimSpace(entry)}, checkKey(entry)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, "cannot be read; write the path of a public key file, or the key itself"
	}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if reason := checkKey(line); reason != "" {
			return nil, "has a line that " + reason
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil, "holds no key; write the path of a public key file, or the key itself"
	}
	return lines, ""
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
		return "is a private key; write the public one (its file ends in .pub)"
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return "is not an authorized_keys line; write one such as ssh-ed25519 AAAA... name, or the path of a public key file"
	}
	if strings.Contains(key.Type(), "-cert-") {
		return "is a certificate; write its public key"
	}
	if withCrypto, ok := key.(ssh.CryptoPublicKey); ok {
		if rsaKey, ok := withCrypto.CryptoPublicKey().(*rsa.PublicKey); ok && rsaKey.N.BitLen() < 2048 {
			return "is an RSA key of less than 2048 bits, which OpenSSH may refuse; write an ed25519 key"
		}
	}
	if key.Type() == "ssh-dss" {
		return "is a DSA key, which OpenSSH no longer accepts; write an ed25519 key"
	}
	return ""
}

const (
	// maxDomain is the maximum length of the site's name, in bytes.
	maxDomain = 253 - len("monitoring.")
	// maxBlocks is how many blocks fit into the security group in addition to its other rules.
	maxBlocks = 50
)

// userDataFits checks that the user data stays within EC2's limit. Values that are not known yet are assumed to have at
// least their usual length.
func (v *validator) userDataFits(c *Config) {
	const name = 63 // the maximum length of a bucket's name
	_, err := server.UserData(server.UserDataArgs{
		Settings: c.Settings, Secrets: c.secret.Secrets,
		HostPrivateKey: strings.Repeat("x", 400), HostPublicKey: strings.Repeat("x", 100),
		HostCertificate: strings.Repeat("x", 800),
		BootstrapKey:    strings.Repeat("x", 100), BootstrapFrom: c.SSHAllowFrom, BundleHash: strings.Repeat("x", 64),
		ContentBucket: strings.Repeat("x", name), BackupBucket: strings.Repeat("x", name), Stack: strings.Repeat("x", name),
		VIP: "255.255.255.255",
	})
	if err == nil {
		return
	}
	key := "admins"
	if c.ACMERoots != "" {
		key = "acmeCA"
	}
	v.add(key, "is too long: "+err.Error(), v.toSet(key, examples(key, "")))
}

// maxRetention is ten years, in hours. Prometheus overflows at 292 years.
const maxRetention = 10 * 365 * 24

// hours converts a Prometheus duration to hours.
func hours(duration string) int {
	last := len(duration) - 1
	count, _ := strconv.Atoi(duration[:last])
	return count * map[byte]int{'h': 1, 'd': 24, 'w': 7 * 24, 'y': 365 * 24}[duration[last]]
}
