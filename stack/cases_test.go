package stack

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"immutable-infra/server"
)

// record is a configuration with additional records, as JSON, in a hosted zone.
func record(records string, errors map[string]string, more ...string) invalid {
	change := map[string]string{"zoneId": "Z00000000000000000001", "dnsRecords": "[" + records + "]"}
	for i := 0; i < len(more); i += 2 {
		change[more[i]] = more[i+1]
	}
	return invalid{change: change, errors: errors}
}

// value is a configuration with one record that has an invalid value.
func value(kind, text, reason string) invalid {
	return record(fmt.Sprintf(`{"name": "a.example.org", "type": %q, "values": [%q]}`, kind, text),
		map[string]string{"dnsRecords[0].values[0]": reason})
}

// caaOf is a configuration with a CAA record for the site that has an issue property for each value.
func caaOf(errors map[string]string, issues ...string) invalid {
	return record(caaRecord(issues...), errors)
}

// caaRecord is a CAA record of example.org, as JSON.
func caaRecord(issues ...string) string {
	var values []string
	for _, issue := range issues {
		values = append(values, strconv.Quote(fmt.Sprintf("0 issue %q", issue)))
	}
	return `{"name": "example.org", "type": "CAA", "values": [` + strings.Join(values, ", ") + `]}`
}

// aliased is a configuration with aliases in a hosted zone.
func aliased(errors map[string]string, aliases ...string) invalid {
	return invalid{
		change: map[string]string{"zoneId": "Z00000000000000000001", "aliases": `["` + strings.Join(aliases, `", "`) + `"]`},
		errors: errors,
	}
}

func admin(t *testing.T, name, reason string) invalid {
	return invalid{
		change: map[string]string{"admins": fmt.Sprintf(`[{"name": %q, "keys": [%q]}]`, name, publicKey(t))},
		errors: map[string]string{"admins[0].name": reason},
	}
}

// set is a configuration with one invalid value.
func set(key, text, reason string) invalid {
	return invalid{change: map[string]string{key: text}, errors: map[string]string{key: reason}}
}

// blocks returns a JSON list of distinct CIDR blocks.
func blocks(count int) string {
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("%q", fmt.Sprintf("192.0.2.%d/32", i)))
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// sshCertificate returns an authorized_keys line with a user certificate.
func sshCertificate(t *testing.T) string {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	require.NoError(t, err)
	certificate := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert}
	require.NoError(t, certificate.SignCert(rand.Reader, signer))
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(certificate)))
}

const relayed = "smtp.our-site.org"

// failingLate returns configurations with well-formed values that would fail only during the deployment, or that would
// not have the effect that they seem to have.
func failingLate(t *testing.T) map[string]invalid {
	all := map[string]invalid{
		"AAAA for the site": record(`{"name": "example.org", "type": "AAAA", "values": ["2001:db8::1"]}`,
			map[string]string{"dnsRecords[0].type": "no IPv6 address"}),
		"AAAA for an alias": record(`{"name": "www.example.org", "type": "AAAA", "values": ["2001:db8::1"]}`,
			map[string]string{"dnsRecords[0].type": "no IPv6 address"}, "aliases", `["www.example.org"]`),
		"AAAA for Grafana":         record(`{"name": "monitoring.example.org", "type": "AAAA", "values": ["2001:db8::1"]}`, map[string]string{"dnsRecords[0].type": "no IPv6 address"}),
		"CAA of another authority": record(`{"name": "example.org", "type": "CAA", "values": ["0 issue \"digicert.com\""]}`, map[string]string{"dnsRecords[0].values": `0 issue "letsencrypt.org"`}),
		"CAA that allows no authority": record(`{"name": "example.org", "type": "CAA", "values": ["0 issue \";\""]}`,
			map[string]string{"dnsRecords[0].values": "letsencrypt.org"}),
		"CAA above the site":        record(`{"name": "example.org", "type": "CAA", "values": ["0 issue \"digicert.com\""]}`, map[string]string{"dnsRecords[0].values": "acme-v02.api.letsencrypt.org"}, "domain", "blog.example.org"),
		"CAA for another method":    record(`{"name": "example.org", "type": "CAA", "values": ["0 issue \"letsencrypt.org; validationmethods=dns-01\""]}`, map[string]string{"dnsRecords[0].values": "by HTTP"}),
		"CAA for another directory": record(`{"name": "example.org", "type": "CAA", "values": ["0 issue \"letsencrypt.org\""]}`, map[string]string{"dnsRecords[0].values": `0 issue "sectigo.com"`}, "acmeDirectory", "https://acme.zerossl.com/v2/DV90"),
		"CAA of a similar name":     record(`{"name": "example.org", "type": "CAA", "values": ["0 issue \"encrypt.org\""]}`, map[string]string{"dnsRecords[0].values": "letsencrypt.org"}),
		"CAA without Traefik's method": caaOf(map[string]string{
			"dnsRecords[0].values": `0 issue "letsencrypt.org; validationmethods=http-01"`,
		}, "letsencrypt.org; validationmethods=dns-01,tls-alpn-01"),
		"CAA without any method": caaOf(map[string]string{
			"dnsRecords[0].values": "validationmethods lacks http-01",
		}, "letsencrypt.org; validationmethods="),
		"CAA without a method, further down": caaOf(map[string]string{
			"dnsRecords[0].values": "in value 2, validationmethods lacks http-01",
		}, "digicert.com", "letsencrypt.org; validationmethods=dns-01"),
		"CAA of another method in capitals": caaOf(map[string]string{
			"dnsRecords[0].values": "validationmethods lacks http-01",
		}, "letsencrypt.org; ValidationMethods=DNS-01"),
		"CAA with methods in a list": caaOf(map[string]string{
			"dnsRecords[0].values[0]": "write validationmethods=http-01",
		}, "letsencrypt.org; validationmethods=http-01,,dns-01"),
		"CAA with spaces between methods": caaOf(map[string]string{"dnsRecords[0].values[0]": "tag=value"},
			"letsencrypt.org; validationmethods=http-01, dns-01"),
		"CAA with methods twice": caaOf(map[string]string{"dnsRecords[0].values[0]": "write it once"},
			"letsencrypt.org; validationmethods=http-01; validationmethods=dns-01"),
		"CAA of the staging account": caaOf(map[string]string{
			"dnsRecords[0].values": "accounturi is no account of acme-v02.api.letsencrypt.org; " +
				"write 0 issue \"letsencrypt.org\"",
		}, "letsencrypt.org; accounturi=https://acme-staging-v02.api.letsencrypt.org/acme/acct/1"),
		"CAA of an account and a method": caaOf(map[string]string{
			"dnsRecords[0].values": `write 0 issue "letsencrypt.org; validationmethods=http-01"`,
		}, "letsencrypt.org; accounturi=https://acme.zerossl.com/v2/DV90/account/1; validationmethods=http-01"),
		"CAA of an account by its number": caaOf(map[string]string{"dnsRecords[0].values[0]": "sudo agent ready"},
			"letsencrypt.org; accounturi=123456789"),
		"CAA of an account without TLS": caaOf(map[string]string{"dnsRecords[0].values[0]": "https URL"},
			"letsencrypt.org; accounturi=http://acme-v02.api.letsencrypt.org/acme/acct/1"),
		"CAA of two accounts": caaOf(map[string]string{
			"dnsRecords[0].values[0]": "write it once",
		},
			"letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/1; "+
				"accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/2"),
		"CAA of another's account by no URL": caaOf(map[string]string{"dnsRecords[0].values[1]": "accounturi"},
			"letsencrypt.org", "digicert.com; accounturi=7"),
		"CAA with a comma between": caaOf(map[string]string{"dnsRecords[0].values[0]": "not a domain"},
			"letsencrypt.org, validationmethods=http-01"),
		"CAA with a parameter of no value": caaOf(map[string]string{"dnsRecords[0].values[0]": "tag=value"},
			"letsencrypt.org; validationmethods"),
		"CAA with a semicolon at the end": caaOf(map[string]string{"dnsRecords[0].values[0]": "tag=value"},
			"letsencrypt.org; validationmethods=http-01;"),
		"CAA without quotes":        value("CAA", "0 issue letsencrypt.org", `flags tag "value"`),
		"CAA without flags":         value("CAA", `issue "letsencrypt.org"`, `flags tag "value"`),
		"CAA with a misspelled tag": value("CAA", `0 isue "letsencrypt.org"`, "issuewild"),
		"CAA with other flags":      value("CAA", `1 issue "letsencrypt.org"`, "128"),
		"MX without a priority":     value("MX", "mail.example.org.", "10 mail.example.org."),
		"MX with an address":        value("MX", "10 192.0.2.1", "priority and a host name"),
		"MX with a large priority":  value("MX", "65536 mail.example.org.", "priority"),
		"A with a name":             value("A", "www.example.org", "type CNAME"),
		"A with an IPv6 address":    value("A", "2001:db8::1", "not an IPv4 address"),
		"A with a block":            value("A", "192.0.2.0/24", "not an IPv4 address"),
		"A with zeros":              value("A", "192.0.2.007", "not an IPv4 address"),
		"AAAA with IPv4":            value("AAAA", "192.0.2.1", "not an IPv6 address"),
		"AAAA with a zone":          value("AAAA", "fe80::1%eth0", "not an IPv6 address"),
		"CNAME with an address":     value("CNAME", "192.0.2.1", "not a host name"),
		"CNAME with a URL":          value("CNAME", "https://example.com/", "not a host name"),
		"NS with an address":        value("NS", "192.0.2.1", "not a host name"),
		"SRV without a port":        value("SRV", "10 5 sip.example.org.", "10 5 5060 sip.example.org."),
		"TXT in quotes":             value("TXT", `"v=spf1 -all"`, "without them"),
		"TXT with umlauts":          value("TXT", "schön", "printable ASCII"),
		"TXT that is too long":      value("TXT", strings.Repeat("a", 4001), "4,000"),
		"a value twice":             record(`{"name": "a.example.org", "type": "A", "values": ["192.0.2.1", "192.0.2.1"]}`, map[string]string{"dnsRecords[0].values[1]": "Route 53 rejects"}),
		"a value twice, with a dot": record(`{"name": "example.org", "type": "MX", "values": ["10 a.example.org", "10 a.example.org."]}`, map[string]string{"dnsRecords[0].values[1]": "Route 53 rejects"}),
		"CNAME and another record":  record(`{"name": "a.example.org", "type": "CNAME", "values": ["b.example.org."]}, {"name": "a.example.org", "type": "TXT", "values": ["x"]}`, map[string]string{"dnsRecords[0].type": "cannot have a CNAME"}),
		"CNAME at the top": record(`{"name": "example.org", "type": "CNAME", "values": ["b.example.com."]}`,
			map[string]string{"dnsRecords[0].type": "top of a zone"}, "domain", "www.example.org"),
		"CNAME at the top, co.uk": record(`{"name": "example.co.uk", "type": "CNAME", "values": ["b.example.com."]}`,
			map[string]string{"dnsRecords[0].type": "top of a zone"}, "domain", "www.example.co.uk"),
		"CNAME for Grafana": record(`{"name": "monitoring.example.org", "type": "CNAME", "values": ["b.example.com."]}`,
			map[string]string{"dnsRecords[0].type": "cannot have a CNAME"}),
		"A for an alias": record(`{"name": "www.example.org", "type": "A", "values": ["192.0.2.1"]}`,
			map[string]string{"dnsRecords[0].name": "the site's own names"}, "aliases", `["www.example.org"]`),
		"NS for the site": record(`{"name": "www.example.org", "type": "NS", "values": ["ns1.example.com."]}`,
			map[string]string{"dnsRecords[0].type": "delegates"}, "domain", "www.example.org"),
		"NS above the site": record(`{"name": "blog.example.org", "type": "NS", "values": ["ns1.example.com."]}`,
			map[string]string{"dnsRecords[0].type": "www.blog.example.org"}, "domain", "www.blog.example.org"),
		"NS at the top": record(`{"name": "example.org", "type": "NS", "values": ["ns1.example.com."]}`,
			map[string]string{"dnsRecords[0].type": "top of a zone"}),
		"NS above a record": record(`{"name": "sub.example.org", "type": "NS", "values": ["ns1.example.com."]}, {"name": "a.sub.example.org", "type": "TXT", "values": ["x"]}`, map[string]string{"dnsRecords[0].type": "a.sub.example.org"}),
		"a record outside the zone": record(`{"name": "example.net", "type": "TXT", "values": ["x"]}`,
			map[string]string{"dnsRecords[0].name": "outside of example.org"}),
		"a name with the same ending": record(`{"name": "myexample.org", "type": "TXT", "values": ["x"]}`,
			map[string]string{"dnsRecords[0].name": "outside of example.org"}),
		"a sibling in co.uk": record(`{"name": "other.co.uk", "type": "TXT", "values": ["x"]}`,
			map[string]string{"dnsRecords[0].name": "outside of example.co.uk"}, "domain", "www.example.co.uk"),
		"an alias outside the zone": aliased(map[string]string{"aliases[1]": "outside of example.org"},
			"www.example.org", "www.example.net"),
		"the alias monitoring": aliased(map[string]string{"aliases[0]": "the program's own pages"},
			"monitoring.example.org"),
		"the alias status": aliased(map[string]string{"aliases[0]": "the program's own pages"},
			"status.example.org"),
		"a retention of 300 years":  set("metricsRetention", "300y", "at most 10y"),
		"a retention of many weeks": set("metricsRetention", "99999w", "at most 10y"),
		"half a gibibyte":           set("instanceType", "t4g.nano", "0.9 GiB"),
		"half a gibibyte, no Grafana": {
			change: map[string]string{"instanceType": "t3a.nano", "grafana": "false"},
			errors: map[string]string{"instanceType": "1 GiB or more"},
		},
		"a Mac":                             set("instanceType", "mac2.metal", "cannot boot Debian 13"),
		"the first generation":              set("instanceType", "m1.small", "cannot boot Debian 13"),
		"an address with a backslash":       set("acmeEmail", `a\b@example.org`, "not an e-mail address"),
		"an address that no file can hold":  set("acmeEmail", "o'$a@example.org", "cannot hold"),
		"an address in no domain":           set("acmeEmail", "ada@localhost", "not an e-mail address"),
		"an address with umlauts":           set("acmeEmail", "jürgen@example.org", "not an e-mail address"),
		"a directory that no file can hold": set("acmeDirectory", `https://acme.example.org/'$x`, "cannot hold"),
		"a name without room for monitoring": set("domain", strings.Repeat(strings.Repeat("a", 49)+".", 5)+"org",
			"too long"),
		"more blocks than EC2 takes": set("sshAllowFrom", blocks(51), "at most 50"),
		"more keys than user data holds": set("admins",
			fmt.Sprintf(`[{"name": "ada", "keys": [%q]}]`, publicKey(t)+strings.Repeat("x", 10000)), "EC2 takes 16384"),
		"a certificate in place of a key": {
			change: map[string]string{"admins": fmt.Sprintf(`[{"name": "ada", "keys": [%q]}]`, sshCertificate(t))},
			errors: map[string]string{"admins[0].keys[0]": "is a certificate"},
		},
		"SPF that excludes all mail": record(`{"name": "example.org", "type": "TXT", "values": ["v=spf1 -all"]}`,
			map[string]string{"dnsRecords[0].values[0]": "excludes mail"}, "smtpHost", relayed),
		"a block twice": {
			change: map[string]string{"sshAllowFrom": `["192.0.2.7/32", "192.0.2.7/32"]`},
			errors: map[string]string{"sshAllowFrom[1]": "EC2 rejects"},
		},

		"preload without subdomains": {
			change: map[string]string{"hstsPreload": "true"},
			errors: map[string]string{"hstsIncludeSubDomains": "with its subdomains only"},
		},
		"preload for a month": {
			change: map[string]string{"hstsPreload": "true", "hstsIncludeSubDomains": "true", "hstsMaxAge": "2592000"},
			errors: map[string]string{"hstsMaxAge": "a year"},
		},
		"a negative age": set("hstsMaxAge", "-1", "from 0"),
		"mail without TLS": {
			change: map[string]string{"smtpHost": relayed, "smtpPort": "25"},
			errors: map[string]string{"smtpPort": "blocked by AWS"},
		},
		"a user without a password": {
			change: map[string]string{"smtpHost": relayed, "smtpUser": "site"},
			errors: map[string]string{"smtpPassword": "set both, or neither"},
		},
		"a password without a user": {
			change: map[string]string{"smtpHost": relayed, "smtpPassword": "x"},
			errors: map[string]string{"smtpUser": "set both, or neither"},
		},
		"a relay by its address": set("smtpHost", "192.0.2.7", "not a host name"),
		"a login nowhere": {
			change: map[string]string{"smtpUser": "site", "smtpPassword": "x"},
			errors: map[string]string{"smtpUser": "without smtpHost", "smtpPassword": "without smtpHost"},
		},
		"a port nowhere": set("smtpPort", "465", "without smtpHost"),
		"a sender with a name": {
			change: map[string]string{"smtpHost": relayed, "smtpFrom": "Ada <ada@example.org>"},
			errors: map[string]string{"smtpFrom": "without a name"},
		},
		"a sender with a pattern": {
			change: map[string]string{"smtpHost": relayed, "smtpFrom": "%U@example.org"},
			errors: map[string]string{"smtpFrom": "letters, digits"},
		},
		"a password of two lines": {
			change: map[string]string{"smtpHost": relayed, "smtpUser": "site", "smtpPassword": "x\nhost evil.example.org"},
			errors: map[string]string{"smtpPassword": "one line"},
		},
	}
	for _, name := range strings.Fields(`operator sudo users backup games docker www-data messagebus polkitd sshd systemd-network systemd-anything
		_chrony _apt adm staff nogroup input render kvm default site-agent shadow lp nobody tcpdump`) {
		all["an admin called "+name] = admin(t, name, "; write")
	}
	all["a name that is too long"] = admin(t, strings.Repeat("a", 33), "at most 32")
	all["a name that is a number"] = admin(t, "1000", "letter first")
	all["a name with a dot"] = admin(t, "ada.lovelace", "not a login name")
	return all
}

func TestValuesThatWouldFailLateAreRejected(t *testing.T) {
	requireRejected(t, failingLate(t))
}

func TestValidValuesCloseToRejectedOnesAreAccepted(t *testing.T) {
	for name, change := range map[string]map[string]string{
		"other names' addresses": {
			"dnsRecords": `[{"name": "a.example.org", "type": "AAAA", "values": ["2001:db8::1"]}, {"name": "a.example.org", "type": "A", "values": ["192.0.2.1", "192.0.2.2"]}]`,
		},
		"CAA of the authority": {
			"dnsRecords": `[{"name": "example.org", "type": "CAA", "values": ["0 issue \"digicert.com\"", "0 issue \"letsencrypt.org; validationmethods=http-01\"", "0 iodef \"mailto:ada@example.org\""]}]`,
		},
		"CAA of one account": {
			"dnsRecords": "[" + caaRecord("letsencrypt.org;validationmethods=http-01 ; AccountURI = "+
				"https://acme-v02.api.letsencrypt.org/acme/acct/1") + "]",
		},
		"CAA of several methods": {
			"dnsRecords": "[" + caaRecord("letsencrypt.org; validationmethods=dns-01,http-01; cansignhttpexchanges=yes") + "]",
		},
		"CAA of both environments": {
			"dnsRecords": "[" + caaRecord("letsencrypt.org; accounturi=https://acme-staging-v02.api.letsencrypt.org/acme/acct/1",
				"letsencrypt.org; accounturi=https://acme-v02.api.letsencrypt.org/acme/acct/2") + "]",
		},
		"CAA of another's account": {
			"dnsRecords": "[" + caaRecord("digicert.com; accounturi=https://acme.digicert.com/1; validationmethods=dns-01",
				"letsencrypt.org") + "]",
		},
		"CAA of wildcards by DNS": {
			"dnsRecords": `[{"name": "example.org", "type": "CAA", "values": ["0 issuewild \"letsencrypt.org; validationmethods=dns-01\""]}]`,
		},
		"CAA that allows no authority, and a space": {"dnsRecords": "[" + caaRecord("; ", "letsencrypt.org ;") + "]"},
		"CAA for wildcards": {
			"dnsRecords": `[{"name": "example.org", "type": "CAA", "values": ["0 issuewild \";\"", "128 issue \"LetsEncrypt.org\""]}]`,
		},
		"CAA of another name": {
			"dnsRecords": `[{"name": "a.example.org", "type": "CAA", "values": ["0 issue \"digicert.com\""]}]`,
		},
		"CAA nearer to the site": {
			"domain":     "blog.example.org",
			"dnsRecords": `[{"name": "example.org", "type": "CAA", "values": ["0 issue \"digicert.com\""]}, {"name": "blog.example.org", "type": "CAA", "values": ["0 issue \"letsencrypt.org\""]}]`,
		},
		"CAA of another authority": {
			"acmeDirectory": "https://acme.zerossl.com/v2/DV90",
			"dnsRecords":    `[{"name": "example.org", "type": "CAA", "values": ["0 issue \"sectigo.com\""]}]`,
		},
		"mail, services, delegations": {
			"dnsRecords": `[{"name": "example.org", "type": "MX", "values": ["10 mail.example.com", "20 b.example.com."]}, {"name": "_sip._tcp.example.org", "type": "SRV", "values": ["10 5 5060 sip.example.org."]}, {"name": "sub.example.org", "type": "NS", "values": ["ns1.example.com", "ns2.example.com"]}]`,
		},
		"no mail": {
			"dnsRecords": `[{"name": "example.org", "type": "MX", "values": ["0 ."]}, {"name": "example.org", "type": "TXT", "values": ["a \"quoted\" word"]}]`,
		},
		"the domain above the site": {
			"domain":     "www.example.co.uk",
			"aliases":    `["example.co.uk", "blog.example.co.uk"]`,
			"dnsRecords": `[{"name": "example.co.uk", "type": "TXT", "values": ["x"]}, {"name": "_x._y.example.co.uk", "type": "CNAME", "values": ["_z.example.com."]}]`,
		},
		"a name elsewhere, by hand": {"zoneId": "", "aliases": `["www.example.net"]`},
		"Grafana's name without it": {
			"grafana":    "false",
			"dnsRecords": `[{"name": "monitoring.example.org", "type": "CNAME", "values": ["x.example.com."]}]`,
		},
		"a dollar in an address":  {"acmeEmail": "a$b@example.org"},
		"a quote in an address":   {"acmeEmail": "o'brien@example.org"},
		"ten years":               {"metricsRetention": "10y"},
		"one gibibyte":            {"instanceType": "t4g.micro", "grafana": "false"},
		"preload":                 {"hstsPreload": "true", "hstsIncludeSubDomains": "true", "hstsMaxAge": "63072000"},
		"a relay without a login": {"smtpHost": relayed},
	} {
		t.Run(name, func(t *testing.T) {
			inProject(t)
			values := valid(t)
			values["zoneId"] = "Z00000000000000000001"
			for key, value := range change {
				values[key] = value
			}
			_, err := Parse(values)
			require.NoError(t, err)
		})
	}
	for _, name := range []string{"admin", "debian", "ada-b_c1", strings.Repeat("a", 32), "x"} {
		t.Run("an admin called "+name, func(t *testing.T) {
			inProject(t)
			values := valid(t)
			values["admins"] = fmt.Sprintf(`[{"name": %q, "keys": [%q]}]`, name, publicKey(t))
			_, err := Parse(values)
			require.NoError(t, err)
		})
	}
}

func TestNamesInRecordsEndWithADot(t *testing.T) {
	inProject(t)
	values := valid(t)
	values["dnsRecords"] = `[{"name": "a.example.org", "type": "CNAME", "values": ["b.example.com"]}, {"name": "example.org", "type": "MX", "values": ["10  mail.example.com", "0 ."]}]`
	config, err := Parse(values)
	require.NoError(t, err)
	require.Equal(t, []string{"b.example.com."}, config.DNSRecords[0].Values)
	require.Equal(t, []string{"10 mail.example.com.", "0 ."}, config.DNSRecords[1].Values)
}

func TestHSTSHasOnlyTheConfiguredDirectives(t *testing.T) {
	config := Defaults()
	require.Equal(t, "max-age=31536000", config.HSTS())
	config.HSTSIncludeSubDomains = true
	require.Equal(t, "max-age=31536000; includeSubDomains", config.HSTS())
	config.HSTSPreload = true
	require.Equal(t, "max-age=31536000; includeSubDomains; preload", config.HSTS())
	require.Equal(t, "max-age=0", (&server.Settings{}).HSTS(), "max-age=0 revokes an earlier header")
}

func TestGrafanasNameBelongsToTheSiteIfItRuns(t *testing.T) {
	config := server.Settings{Domain: "example.org", Aliases: []string{"www.example.org"}, Grafana: true}
	require.Equal(t, []string{"example.org", "www.example.org", "monitoring.example.org"}, config.Names())
	config.Grafana = false
	require.Equal(t, []string{"example.org", "www.example.org"}, config.Names())
}

func TestMailComesFromTheSiteByDefault(t *testing.T) {
	inProject(t)
	values := valid(t)
	values["smtpHost"] = relayed
	config, err := Parse(values)
	require.NoError(t, err)
	require.Equal(t, "noreply@example.org", config.SMTPFrom)
	require.Equal(t, 587, config.SMTPPort)
}
