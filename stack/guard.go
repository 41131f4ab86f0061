package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"

	"immutable-infra/internal/rehearsal"
)

// guard rejects well-formed values that do not belong in this stack: settings of the local cloud and documentation
// placeholders in stacks on AWS, and names of another stack in all stacks.
func (v *validator) guard(c *Config) {
	others := v.siblingStacks()
	if !rehearsal.Stack(v.stack) {
		v.realNames(c)
		v.realFiles(c)
		v.realAddresses(c)
		v.realIDs(c, others)
	}
	v.ownNames(c, others)
	v.ownAccount(c, others)
	if first, _, _ := strings.Cut(hostOf(c.ACMEDirectory), "."); v.stack == "production" &&
		strings.Contains(first, "staging") {
		v.add("acmeDirectory",
			v.redacted("acmeDirectory", c.ACMEDirectory)+
				" is a staging environment, whose certificates browsers refuse; write the directory of the real one",
			v.toSet("acmeDirectory", Defaults().ACMEDirectory))
	}
}

// The placeholders of Pulumi.production.yaml and Pulumi.test.yaml.
const (
	placeholderZone = "Z0123456789ABCDEFGHIJ"
	placeholderAMI  = "ami-0123456789abcdef0"
	placeholderKey  = "AAAAC3NzaC1lZDI1NTE5AAAAIJU2/6nTQqvHTrqXBhq7bDFXS2jvfi5D9ZMWpY0bK3Qh"
)

// privateDomains do not resolve on the Internet (RFC 2606, RFC 6761, RFC 6762, RFC 8375, and .internal, which ICANN
// reserved for private use).
var privateDomains = []string{"test", "example", "invalid", "localhost", "local", "internal", "home.arpa"}

// exampleDomains are reserved for documentation (RFC 2606).
var exampleDomains = []string{"example.com", "example.net", "example.org"}

// localBlock is the address range of the local cloud, which RFC 2544 reserves for benchmarks.
const localBlock = "198.18.0.0/15"

// exampleBlocks are reserved for documentation (RFC 5737).
var exampleBlocks = []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"}

// realNames rejects names of the local cloud and names from the documentation.
func (v *validator) realNames(c *Config) {
	check := func(key, value, host, write, example string) {
		for _, domain := range privateDomains {
			if within(host, domain) {
				v.add(key,
					fmt.Sprintf("%s is in the domain .%s, which does not resolve on the Internet; %s", v.redacted(key, value), domain,
						write), v.toSet(key, example))
			}
		}
		for _, domain := range exampleDomains {
			if within(host, domain) {
				v.add(key, fmt.Sprintf("%s is a documentation placeholder; %s", v.redacted(key, value), write),
					v.toSet(key, example))
			}
		}
		if address, err := netip.ParseAddr(host); err == nil &&
			(address.IsLoopback() || netip.MustParsePrefix(localBlock).Contains(address)) {
			v.add(key, fmt.Sprintf("%s is an address of this machine only; %s", v.redacted(key, value), write),
				v.toSet(key, example))
		}
	}
	check("domain", c.Domain, c.Domain, "write the site's own name", "YOUR-DOMAIN")
	for i, alias := range c.Aliases {
		check(indexKey("aliases", i), alias, alias, "write a name of your own", "www.YOUR-DOMAIN")
	}
	for i, record := range c.DNSRecords {
		check(indexKey("dnsRecords", i)+".name", record.Name, record.Name, "write a name of your own", "YOUR-DOMAIN")
	}
	if address, err := mail.ParseAddress(c.ACMEEmail); err == nil {
		check("acmeEmail", c.ACMEEmail, address.Address[strings.LastIndex(address.Address, "@")+1:], "write your own address",
			"YOU@YOUR-DOMAIN")
	}
	if c.SMTPHost != "" {
		check("smtpHost", c.SMTPHost, c.SMTPHost, "write the name of a real relay", "smtp.YOUR-DOMAIN")
	}
	if c.SMTPFrom != "" {
		check("smtpFrom", c.SMTPFrom, domainOf(c.SMTPFrom), "write an address of your own", "noreply@YOUR-DOMAIN")
	}
	check("acmeDirectory", c.ACMEDirectory, hostOf(c.ACMEDirectory), "write the directory of a real authority",
		Defaults().ACMEDirectory)
	check("uptimeRobotAPI", c.UptimeRobotAPI, hostOf(c.UptimeRobotAPI), "write the URL of the real API",
		Defaults().UptimeRobotAPI)
	check("heartbeatURL", c.secret.HeartbeatURL, hostOf(c.secret.HeartbeatURL),
		"write the URL that the heartbeat monitor shows", "")
	check("uptimeRobotWebhook", c.secret.UptimeRobotWebhook, hostOf(c.secret.UptimeRobotWebhook),
		"write the URL that is shown in Splunk On-Call", "")
}

// within reports whether a name is a domain or below it, regardless of case and of a trailing dot.
func within(name, domain string) bool {
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	return name == domain || strings.HasSuffix(name, "."+domain)
}

// hostOf returns the host of a URL, or "".
func hostOf(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return parsed.Hostname()
}

// realFiles rejects files of the local cloud, and the key from the documentation.
func (v *validator) realFiles(c *Config) {
	const belongs = " belongs to the local cloud; "
	if ofLocalCloud(c.ACMECA) {
		v.add("acmeCA", v.redacted("acmeCA", c.ACMECA)+belongs+"write a file of the real authority's roots, or leave it out",
			v.toRemove("acmeCA"))
	}
	if ofLocalCloud(c.SiteDir) {
		v.add("siteDir", v.redacted("siteDir", c.SiteDir)+belongs+"write the path of the Jekyll site",
			v.toSet("siteDir", Defaults().SiteDir))
	}
	for i, admin := range c.Admins {
		for j, entry := range admin.Keys {
			key := indexKey(indexKey("admins", i)+".keys", j)
			if _, isFile := keyFile(entry); isFile && ofLocalCloud(entry) {
				v.add(key, v.redacted(key, entry)+belongs+"write your own public key", v.toSet(key, ownKey))
			}
			lines, _ := authorizedKeys(entry)
			if slices.ContainsFunc(lines, isPlaceholderKey) {
				v.add(key, "the value is a documentation placeholder; write your own public key", v.toSet(key, ownKey))
			}
		}
	}
}

func ofLocalCloud(path string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(filepath.Clean(path)), "/"), ".localcloud")
}

func isPlaceholderKey(line string) bool {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	return err == nil && strings.Contains(string(ssh.MarshalAuthorizedKey(key)), placeholderKey)
}

// realAddresses rejects CIDR blocks from which no machine could reach a server on AWS.
func (v *validator) realAddresses(c *Config) {
	for i, block := range c.SSHAllowFrom {
		prefix, err := netip.ParsePrefix(block)
		if err != nil {
			continue
		}
		key := indexKey("sshAllowFrom", i)
		in := func(outer string) bool {
			other := netip.MustParsePrefix(outer)
			return other.Contains(prefix.Addr()) && prefix.Bits() >= other.Bits()
		}
		const write = "write the block of the machine that runs pulumi"
		if in(localBlock) {
			v.add(key, fmt.Sprintf("%s is in %s, which the local cloud uses; %s", v.redacted(key, block), localBlock, write),
				v.toSet(key, ownAddress))
		}
		if slices.ContainsFunc(exampleBlocks, in) {
			v.add(key, fmt.Sprintf("%s is a documentation placeholder; %s", v.redacted(key, block), write),
				v.toSet(key, ownAddress))
		}
	}
}

// realIDs rejects the zone and the image of the local cloud, and those from the documentation.
func (v *validator) realIDs(c *Config, others []siblingStack) {
	check := func(key, id, placeholder, write, example string, of func(*Config) string) {
		if id == placeholder {
			v.add(key, fmt.Sprintf("%s is a documentation placeholder; %s", v.redacted(key, id), write), v.toSet(key, example))
			return
		}
		for _, other := range others {
			if id != "" && rehearsal.Stack(other.stack) && id == of(other.config) {
				v.add(key, fmt.Sprintf("%s belongs to the local cloud (%s); %s", v.redacted(key, id), other.file, write),
					v.toSet(key, example))
				return
			}
		}
	}
	check("zoneId", c.ZoneID, placeholderZone,
		"write the id of your own zone (aws route53 list-hosted-zones), or leave it out to make the DNS records by hand",
		"YOUR-ZONE-ID",
		func(other *Config) string { return other.ZoneID })
	check("ami", c.AMI, placeholderAMI, "write the id of the newest image of Debian 13", c.newestImage(),
		func(other *Config) string { return other.AMI })
}

// ownNames rejects names of other stacks: each update would move them from the other stack to this one.
func (v *validator) ownNames(c *Config, others []siblingStack) {
	rejected := map[string]bool{}
	reject := func(key, what, write string, other siblingStack, commands ...string) {
		if !rejected[key] {
			rejected[key] = true
			v.add(key, fmt.Sprintf("%s belongs to the stack %s (%s); %s", what, other.stack, other.file, write), commands...)
		}
	}
	for _, other := range others {
		theirs := names(other.config)
		for i, name := range names(c) {
			if !slices.Contains(theirs, name) {
				continue
			}
			alias := i - 1
			switch {
			case i == 0:
				reject("domain", v.redacted("domain", name), "write one that no other stack has", other,
					v.toSet("domain", v.stack+".YOUR-DOMAIN"))
			case alias < len(c.Aliases):
				key := indexKey("aliases", alias)
				reject(key, v.redacted(key, name), "write one that no other stack has, or remove it", other, v.toRemove(key))
			default:
				reject("domain", v.redacted("domain", name)+", which the domain implies,",
					"write a domain with names that no other stack has", other, v.toSet("domain", v.stack+".YOUR-DOMAIN"))
			}
		}
		if other.stack != "production" {
			continue
		}
		for i, record := range c.DNSRecords {
			if slices.Contains(theirs, record.Name) {
				key := indexKey("dnsRecords", i)
				reject(key+".name", v.redacted(key, record.Name), "write its records into "+other.file, other, v.toRemove(key))
			}
		}
	}
}

// names returns all names of a site, including that of the status page, even if it has none yet.
func names(c *Config) []string {
	if c.Domain == "" {
		return nil
	}
	return append(c.Names(), "status."+c.Domain)
}

// siblingStack is another stack of the project.
type siblingStack struct {
	stack, file string
	config      *Config
}

// siblingStacks returns the stacks whose files are in the same directory. Encrypted and invalid values in them are
// ignored; a file that is not valid YAML is a problem, because it may contain names of this stack.
func (v *validator) siblingStacks() []siblingStack {
	entries, err := os.ReadDir(v.directory)
	if err != nil {
		v.add("Pulumi.*.yaml", fmt.Sprintf("cannot list the files of other stacks: %v; make the directory readable", err))
		return nil
	}
	own := "Pulumi." + strings.ReplaceAll(v.stack, "/", "-") + ".yaml"
	var others []siblingStack
	for _, entry := range entries {
		file := entry.Name()
		name, isStack := strings.CutPrefix(strings.TrimSuffix(file, ".yaml"), "Pulumi.")
		if !isStack || !strings.HasSuffix(file, ".yaml") || file == own {
			continue
		}
		values, err := readFile(filepath.Join(v.directory, file), v.project)
		if err != nil {
			v.add(file,
				fmt.Sprintf("cannot be read (%v), so names of this stack may be taken; correct the file, or remove it if there "+
					"is no such stack", err))
			continue
		}
		others = append(others, siblingStack{name, file, (&validator{}).read(values)})
	}
	return others
}

// readFile reads the unencrypted values of a stack's file, in the form in which Pulumi passes them to a program.
func readFile(path, project string) (map[string]string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	var file struct {
		Config map[string]any `yaml:"config"`
	}
	var mistyped *yaml.TypeError
	switch err := yaml.Unmarshal(content, &file); {
	case errors.As(err, &mistyped):
		// The error's text would show values.
		return nil, errors.New("config is not a map with each key once")
	case err != nil:
		return nil, err
	}
	values := map[string]string{}
	for key, value := range file.Config {
		if text, ok := rawValue(value); ok {
			values[strings.TrimPrefix(key, project+":")] = text
		}
	}
	return values, nil
}

// rawValue converts a value of a stack's file to the form in which Pulumi passes it to a program. ok is false if it is
// encrypted or empty.
func rawValue(value any) (text string, ok bool) {
	switch value := value.(type) {
	case nil:
		return "", false
	case string:
		return value, true
	case map[string]any, map[any]any, []any:
		if fields, ok := value.(map[string]any); ok && fields["secure"] != nil {
			return "", false
		}
		encoded, err := json.Marshal(value)
		return string(encoded), err == nil
	default:
		return fmt.Sprint(value), true
	}
}
