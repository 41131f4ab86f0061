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

// host matches a DNS host name (RFC 1123) of at least two labels, in lower case.
var host = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

var (
	amiID        = regexp.MustCompile(`^ami-([0-9a-f]{8}|[0-9a-f]{17})$`)
	instanceType = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9]+$`)
	// small matches what has 1 GiB of memory or less, tooSmall what has less.
	small    = regexp.MustCompile(`\.(nano|micro)$`)
	tooSmall = regexp.MustCompile(`\.nano$|^t1\.`)
	// foreign matches what starts no image of Debian 13: Macs, and the first generations, which
	// start paravirtual images only.
	foreign = regexp.MustCompile(`^(mac|t1\.|m1\.|m2\.|c1\.)`)
	region  = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	zoneID  = regexp.MustCompile(`^Z[0-9A-Z]{1,31}$`)
	// policyARN matches a managed policy of an account of one's own.
	policyARN = regexp.MustCompile(`^arn:aws:iam::\d{12}:policy/[\w+=,.@/-]+$`)
	// duration is Prometheus' form of a time.
	duration   = regexp.MustCompile(`^[1-9]\d{0,4}[hdwy]$`)
	apiKey     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	robotKey   = regexp.MustCompile(`^u[0-9][0-9A-Za-z-]{10,100}$`)
	routingKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	word       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)
	// login is what Debian's useradd accepts, but for a first "_", which is for its packages' users.
	login = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)
)

// validator collects what is wrong with a configuration.
type validator struct {
	origin
	problems Problems
}

// add says what is wrong with a key and what to write, and with which commands.
func (v *validator) add(key, reason string, commands ...string) {
	v.problems = append(v.problems, Problem{key, reason, commands})
}

// check adds a problem with a value, unless all is well with it.
func (v *validator) check(ok bool, key, value, reason, example string) {
	if !ok {
		v.add(key, v.shown(key, value)+" "+reason, v.toSet(key, example))
	}
}

// missing adds the problem that a key is not set.
func (v *validator) missing(key, reason, example string) {
	v.add(key, "not set; "+reason, v.toSet(key, example))
}

func (v *validator) between(key string, value, low, high, example int) {
	if value < low || value > high {
		v.add(key, fmt.Sprintf("%s is out of range; write a whole number from %d to %d", v.shownNumber(key, value), low, high), v.toSet(key, strconv.Itoa(example)))
	}
}

// shown is a value as a problem may show it.
func (v *validator) shown(key, value string) string {
	if v.hidden(key) {
		return "the value"
	}
	return strconv.Quote(value)
}

func (v *validator) shownNumber(key string, value int) string {
	if v.hidden(key) {
		return "the value"
	}
	return strconv.Itoa(value)
}

// validate checks what was read and completes it: key files become their lines.
func (v *validator) validate(c *Config) {
	defaults := Defaults()

	if c.Region == "" {
		v.missing(regionKey, "write the name of an AWS region", "eu-central-1")
	} else {
		v.check(region.MatchString(c.Region), regionKey, c.Region, "is not an AWS region; write the name of one", "eu-central-1")
	}
	if c.Domain == "" {
		v.missing("domain", "write the site's name", "example.org")
	} else {
		v.hostName("domain", c.Domain, "example.org")
		v.check(len(c.Domain) <= maxDomain, "domain", c.Domain, "is too long for monitoring.<domain> to be a name; write a shorter one", "example.org")
	}
	for i, alias := range c.Aliases {
		key := place("aliases", i)
		v.hostName(key, alias, "www.example.org")
		if alias == c.Domain || slices.Contains(c.Aliases[:i], alias) {
			v.add(key, v.shown(key, alias)+" is there already; write each name once", v.toRemove(key))
		}
	}

	v.check(c.ZoneID == "" || zoneID.MatchString(c.ZoneID), "zoneId", c.ZoneID,
		"is not the id of a hosted zone; write that of your zone at Route 53, or leave it out to make the DNS records by hand", examples("zoneId", ""))
	v.ownNamesKept(c)
	v.dnsRecords(c)

	const unholdable = "has a backslash, or a ' beside a \", a $ or a `, which the server's environment cannot hold; write one without them"
	if !isHTTPS(c.ACMEDirectory) {
		v.check(false, "acmeDirectory", c.ACMEDirectory, "is not the URL of an ACME directory; write one that begins with https://", defaults.ACMEDirectory)
	} else {
		v.check(server.EnvironmentTakes(c.ACMEDirectory), "acmeDirectory", c.ACMEDirectory, unholdable, defaults.ACMEDirectory)
	}
	switch {
	case c.ACMEEmail == "":
		v.missing("acmeEmail", "write your e-mail address, by which the certificate authority knows your account", examples("acmeEmail", ""))
	case !isAddress(c.ACMEEmail):
		v.check(false, "acmeEmail", c.ACMEEmail, "is not an e-mail address; write yours, without a name", examples("acmeEmail", ""))
	default:
		v.check(server.EnvironmentTakes(c.ACMEEmail), "acmeEmail", c.ACMEEmail, unholdable, examples("acmeEmail", ""))
	}
	if c.ACMECA != "" {
		var reason string
		c.ACMERoots, reason = roots(c.ACMECA)
		v.check(reason == "", "acmeCA", c.ACMECA, reason+"; write the path of a PEM file with the authority's roots, or leave it out if every system trusts them", examples("acmeCA", ""))
	}

	v.admins(c.Admins)
	v.between("sshPort", c.SSHPort, 1, 65535, defaults.SSHPort)
	if c.SSHPort == 80 || c.SSHPort == 443 {
		v.add("sshPort", v.shownNumber("sshPort", c.SSHPort)+" belongs to the web server; write another port", v.toSet("sshPort", strconv.Itoa(defaults.SSHPort)))
	}
	if len(c.SSHAllowFrom) == 0 && !c.SSHFromRunner {
		v.add("sshAllowFrom", "not set, so that nobody could provision a server; write the IPv4 CIDR blocks that may reach SSH, such as 192.0.2.7/32", v.toSet("sshAllowFrom[0]", ownAddress))
	}
	if len(c.SSHAllowFrom) > maxBlocks {
		v.add("sshAllowFrom", fmt.Sprintf("has %d blocks, and EC2 takes 60 rules in all; write at most %d", len(c.SSHAllowFrom), maxBlocks), v.toSet("sshAllowFrom", examples("sshAllowFrom", "")))
	}
	for i, block := range c.SSHAllowFrom {
		key := place("sshAllowFrom", i)
		v.cidr(key, block, ownAddress)
		if slices.Contains(c.SSHAllowFrom[:i], block) {
			v.add(key, v.shown(key, block)+" is there twice, which EC2 rejects; write each block once", v.toRemove(key))
		}
	}

	if c.AMI == "" {
		v.missing("ami", "write the id of an image of Debian 13 in your region, such as ami-0123456789abcdef0", c.newestImage())
	} else {
		v.check(amiID.MatchString(c.AMI), "ami", c.AMI, "is not an AMI id; write that of an image of Debian 13 in your region, such as ami-0123456789abcdef0", c.newestImage())
	}
	v.check(instanceType.MatchString(c.InstanceType), "instanceType", c.InstanceType, "is not an instance type; write one of EC2", defaults.InstanceType)
	switch {
	case foreign.MatchString(c.InstanceType):
		v.check(false, "instanceType", c.InstanceType, "cannot start Debian 13; write a type of a current generation", defaults.InstanceType)
	case tooSmall.MatchString(c.InstanceType):
		v.check(false, "instanceType", c.InstanceType, "has 0.5 GiB of memory, and a server needs about 0.9; write one of 1 GiB or more, and of 2 GiB or more for Grafana", defaults.InstanceType)
	case c.Grafana && small.MatchString(c.InstanceType):
		v.add("instanceType", v.shown("instanceType", c.InstanceType)+" has 1 GiB of memory, too little for Grafana; write one of 2 GiB or more, or set grafana to false",
			v.toSet("instanceType", defaults.InstanceType), v.toSet("grafana", "false"))
	}
	v.between("rootVolumeSize", c.RootVolumeSize, 8, 16384, defaults.RootVolumeSize)
	v.between("generation", c.Generation, 0, 1<<31-1, defaults.Generation)
	v.between("provisioningTimeout", c.ProvisioningTimeout, 1, 25, defaults.ProvisioningTimeout)
	v.vpc("vpcCidr", c.VpcCIDR, defaults.VpcCIDR)

	v.check(c.ServerBoundary == "" || policyARN.MatchString(c.ServerBoundary), "serverBoundary", c.ServerBoundary,
		"is not the ARN of a managed policy; write the one that make access names for the stack, or leave it out where no workflow deploys", examples("serverBoundary", ""))

	info, err := os.Stat(c.SiteDir)
	v.check(c.SiteDir != "" && err == nil && info.IsDir(), "siteDir", c.SiteDir, "is no directory of the project; write the path of the Jekyll site", defaults.SiteDir)
	v.check(c.JekyllEnv != "", "jekyllEnv", c.JekyllEnv, "is empty; write production or development", defaults.JekyllEnv)
	v.between("releasesKept", c.ReleasesKept, 1, 100, defaults.ReleasesKept)

	v.hsts(c)
	v.smtp(c)
	v.monitoring(c)
	v.uptimeRobot(c)
	// An alert tells of a backup that is 15 minutes old.
	v.between("backupInterval", c.BackupInterval, 15, 600, defaults.BackupInterval)
	v.between("backupRetention", c.BackupRetention, 2, 8760, defaults.BackupRetention)
	v.between("backupVersionsKept", c.BackupVersionsKept, 1, 100, defaults.BackupVersionsKept)
	v.between("backupVersionDays", c.BackupVersionDays, 1, 3650, defaults.BackupVersionDays)
	if len(v.problems) == 0 {
		v.userDataFits(c)
	}
}

// monitoring checks how servers measure themselves, and whom they tell.
func (v *validator) monitoring(c *Config) {
	defaults := Defaults()
	v.check(duration.MatchString(c.MetricsRetention), "metricsRetention", c.MetricsRetention, "is not a duration of Prometheus; write hours, days, weeks or years", defaults.MetricsRetention)
	v.check(!duration.MatchString(c.MetricsRetention) || hours(c.MetricsRetention) <= maxRetention, "metricsRetention", c.MetricsRetention,
		"is longer than 10 years, which no server keeps; write at most 10y", defaults.MetricsRetention)
	v.check(c.VictorOpsKey == "" || apiKey.MatchString(c.VictorOpsKey), "victorOpsKey", c.VictorOpsKey,
		"is not the key of a REST integration; write one such as 01234567-89ab-cdef-0123-456789abcdef, or leave it out", "")
	v.check(routingKey.MatchString(c.VictorOpsRouting), "victorOpsRouting", c.VictorOpsRouting, "is not a routing key; write the one that you made in Splunk On-Call", defaults.VictorOpsRouting)
	v.check(c.HeartbeatURL == "" || isHeartbeat(c.HeartbeatURL), "heartbeatURL", c.HeartbeatURL,
		"is not the URL of a heartbeat monitor; write the one that the monitor shows, "+
			"such as https://heartbeat.uptimerobot.com/m0123456789-0123456789abcdef, without a user or a password", "")
	if c.GrafanaGitHubID != "" && c.GrafanaGitHubSecret == "" {
		v.add("grafanaGitHubSecret", "not set, and goes with grafanaGitHubId; write both, or none", v.toSet("grafanaGitHubSecret", ""))
	}
	if c.GrafanaGitHubID == "" && c.GrafanaGitHubSecret != "" {
		v.add("grafanaGitHubId", "not set, and goes with grafanaGitHubSecret; write both, or none", v.toSet("grafanaGitHubId", examples("grafanaGitHubId", "")))
	}
	v.check(c.GrafanaGitHubID == "" || word.MatchString(c.GrafanaGitHubID), "grafanaGitHubId", c.GrafanaGitHubID,
		"is not the client id of a GitHub OAuth app; write that of yours", examples("grafanaGitHubId", ""))
	if c.GrafanaGitHubID != "" && len(c.GrafanaGitHubOrganizations) == 0 {
		v.add("grafanaGitHubOrganizations", "not set, so that everybody with a GitHub account could log in; write the organizations whose members may",
			v.toSet("grafanaGitHubOrganizations[0]", "example"))
	}
	for i, organization := range c.GrafanaGitHubOrganizations {
		v.check(word.MatchString(organization), place("grafanaGitHubOrganizations", i), organization, "is not the name of a GitHub organization; write it as its URL has it", "example")
	}
}

// uptimeRobot checks how the site is watched from outside, and completes it.
func (v *validator) uptimeRobot(c *Config) {
	defaults := Defaults()
	v.check(c.UptimeRobotKey == "" || robotKey.MatchString(c.UptimeRobotKey), "uptimeRobotKey", c.UptimeRobotKey,
		"is not a main API key of UptimeRobot; write one such as u1234567-0123456789abcdef01234567 (those that begin with ur or m may only read), or leave it out", "")
	v.check(isHTTPS(c.UptimeRobotAPI), "uptimeRobotAPI", c.UptimeRobotAPI, "is not the URL of an API; write one that begins with https://", defaults.UptimeRobotAPI)
	v.between("uptimeRobotInterval", c.UptimeRobotInterval, 30, 86400, defaults.UptimeRobotInterval)
	if c.UptimeRobotWebhook == "" {
		return
	}
	if c.UptimeRobotKey == "" {
		v.add("uptimeRobotKey", "not set, and goes with uptimeRobotWebhook; write both, or none", v.toSet("uptimeRobotKey", ""))
	}
	webhook, err := url.Parse(c.UptimeRobotWebhook)
	v.check(err == nil && webhook.Scheme == "https" && webhook.Host != "" && webhook.RawQuery == "" && webhook.Fragment == "", "uptimeRobotWebhook", c.UptimeRobotWebhook,
		"is not the URL of the integration Uptime Robot in Splunk On-Call; write the one that is shown there, such as https://alert.victorops.com/integrations/uptimerobot/20131114/alert/KEY/default", "")
	v.check(!strings.Contains(c.UptimeRobotWebhook, "$routing_key"), "uptimeRobotWebhook", c.UptimeRobotWebhook,
		"still has $routing_key at its end; write a routing key of yours there, such as default", "")
	c.UptimeRobotWebhook = strings.TrimSuffix(c.UptimeRobotWebhook, "?") + "?"
}

// place is a place in a list, as pulumi config --path takes it.
func place(key string, i int) string {
	return fmt.Sprintf("%s[%d]", key, i)
}

// isHeartbeat reports whether Alertmanager can post to a URL. The path or the query has the monitor's token.
func isHeartbeat(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && isHTTPS(address) && parsed.User == nil && !strings.ContainsAny(address, " #") &&
		host.MatchString(strings.ToLower(parsed.Hostname())) && (strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "")
}

func isHTTPS(address string) bool {
	parsed, err := url.Parse(address)
	return err == nil && parsed.Scheme == "https" && parsed.Host != ""
}

func (v *validator) hostName(key, name, example string) {
	v.check(len(name) <= 253 && host.MatchString(name), key, name, "is not a host name; write it in lower case, without a scheme or a slash", example)
}

// roots reads a PEM file of certificates. The reason says why it is refused.
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
	v.check(prefix == prefix.Masked(), key, block, "has bits set beyond its prefix; write the block's first address", example)
}

func (v *validator) vpc(key, block, example string) {
	before := len(v.problems)
	v.cidr(key, block, example)
	if len(v.problems) > before {
		return
	}
	prefix := netip.MustParsePrefix(block)
	// The limits are those of the EC2 API; a /24 of it becomes the subnet.
	v.check(prefix.Bits() >= 16 && prefix.Bits() <= 24, key, block, "is too large or too small; write a block from /16 to /24", example)
	v.check(prefix.Addr().IsPrivate(), key, block, "is not in a private range; write a block of one (RFC 1918)", example)
}

// ownAddress has the shell ask for the machine's address, as others see it.
const ownAddress = `"$(curl -s https://checkip.amazonaws.com)/32"`

// newestImage has the shell ask for the newest image of Debian 13.
func (c *Config) newestImage() string {
	in := ""
	if region.MatchString(c.Region) {
		in = " --region " + c.Region
	}
	return fmt.Sprintf(`"$(aws ec2 describe-images%s --owners 136693071363 --filters 'Name=name,Values=debian-13-%s-*' --query 'sort_by(Images,&CreationDate)[-1].ImageId' --output text)"`,
		in, c.Architecture())
}

// ownKey has the shell read a public key: the configuration goes to other machines.
const ownKey = `"$(cat ~/.ssh/id_ed25519.pub)"`

func (v *validator) admins(admins []Admin) {
	if len(admins) == 0 {
		v.add("admins", "not set; write who may log in, with names and public keys", v.toSet("admins[0].name", "ada"), v.toSet("admins[0].keys[0]", ownKey))
	}
	for i := range admins {
		admin := &admins[i]
		key := place("admins", i)
		v.check(login.MatchString(admin.Name), key+".name", admin.Name, "is not a login name; write at most 32 lower-case letters, digits, - and _, with a letter first", "ada")
		v.check(!reservedLogin(admin.Name), key+".name", admin.Name, "is taken on every server, by a user or a group of Debian or of the program; write another name", "ada")
		if slices.ContainsFunc(admins[:i], func(other Admin) bool { return other.Name == admin.Name }) {
			v.add(key+".name", v.shown(key, admin.Name)+" is there twice; write all keys of one admin into one entry", v.toRemove(key))
		}
		if len(admin.Keys) == 0 {
			v.add(key+".keys", "has no key; write an authorized_keys line, or the path of a public key file", v.toSet(key+".keys[0]", ownKey))
		}

		var lines []string
		for j, entry := range admin.Keys {
			read, reason := authorizedKeys(entry)
			if reason != "" {
				at := place(key+".keys", j)
				// A key is not shown: it may be a private one.
				shown := "the value"
				if _, isFile := keyFile(entry); isFile {
					shown = v.shown(at, entry)
				}
				v.add(at, shown+" "+reason, v.toSet(at, ownKey))
			}
			lines = append(lines, read...)
		}
		admin.Keys = lines
	}
}

// authorizedKeys reads an entry of an admin's keys, which is a line or the path
// of a file of lines. The reason says why it is refused; it is "" if it is not.
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
		return "is of a private key; write the public one (its file ends in .pub)"
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return "is not an authorized_keys line; write one such as ssh-ed25519 AAAA... name, or the path of a public key file"
	}
	if strings.Contains(key.Type(), "-cert-") {
		return "is of a certificate; write the public key that it is for"
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
	// maxDomain is how many bytes the site's name may have.
	maxDomain = 253 - len("monitoring.")
	// maxBlocks is how many blocks the security group holds beside its other rules.
	maxBlocks = 50
)

// userDataFits checks that keys and roots leave the user data within the limit of EC2, with all that
// is not known yet at its usual length or above.
func (v *validator) userDataFits(c *Config) {
	const name = 63 // a bucket's name at most
	admins := make([]server.Admin, len(c.Admins))
	for i, admin := range c.Admins {
		admins[i] = server.Admin{Name: admin.Name, Keys: admin.Keys}
	}
	_, err := server.UserData(server.UserDataArgs{
		Admins: admins, SSHPort: c.SSHPort, Generation: c.Generation,
		HostPrivateKey: strings.Repeat("x", 400), HostPublicKey: strings.Repeat("x", 100), HostCertificate: strings.Repeat("x", 800),
		BootstrapKey: strings.Repeat("x", 100), BootstrapFrom: c.SSHAllowFrom, BundleHash: strings.Repeat("x", 64),
		Environment: server.Environment{
			ContentBucket: strings.Repeat("x", name), BackupBucket: strings.Repeat("x", name), Stack: strings.Repeat("x", name), VIP: "255.255.255.255",
			Region: c.Region, ReleasesKept: c.ReleasesKept, Domain: c.Domain, Aliases: c.Aliases, Grafana: c.Grafana, HSTS: c.HSTS(),
			ACMEDirectory: c.ACMEDirectory, ACMEEmail: c.ACMEEmail, ACMECA: c.ACMERoots, MetricsRetention: c.MetricsRetention,
			VictorOpsKey: c.VictorOpsKey, VictorOpsRouting: c.VictorOpsRouting, HeartbeatURL: c.HeartbeatURL, BackupInterval: "600s", BackupRetention: "8760h",
			GrafanaGitHubID: c.GrafanaGitHubID, GrafanaGitHubSecret: c.GrafanaGitHubSecret, GrafanaGitHubOrganizations: c.GrafanaGitHubOrganizations,
			Mail: server.Mail{Host: c.SMTPHost, Port: c.SMTPPort, User: c.SMTPUser, Password: c.SMTPPassword, From: c.SMTPFrom}, PHPEgress: c.PHPEgress,
		},
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

// maxRetention is ten years, in hours: what Prometheus cannot count begins at 292 years.
const maxRetention = 10 * 365 * 24

// hours is a duration of Prometheus in hours.
func hours(duration string) int {
	last := len(duration) - 1
	count, _ := strconv.Atoi(duration[:last])
	return count * map[byte]int{'h': 1, 'd': 24, 'w': 7 * 24, 'y': 365 * 24}[duration[last]]
}
