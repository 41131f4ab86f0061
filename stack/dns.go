package stack

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// recordTypes are the types of DNS records that a stack may add.
var recordTypes = []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}

var (
	// recordName matches the name of a DNS record. Labels may start with an underscore, the name with a wildcard.
	recordName = regexp.MustCompile(`^(\*\.)?(_?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// target matches the host name that a record points to.
	target = regexp.MustCompile(`^(_?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$`)
	// caa matches the value of a CAA record (RFC 8659).
	caa = regexp.MustCompile(`^(\d{1,3}) ([A-Za-z0-9]{1,15}) "([^"]*)"$`)
)

// caaTags are the registered properties of CAA records.
var caaTags = []string{"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}

// authorities maps the domains of ACME directories to the authorities' names in CAA records where the two differ.
var authorities = map[string][]string{
	"zerossl.com": {"sectigo.com", "zerossl.com"},
	"sectigo.com": {"sectigo.com"},
	"buypass.com": {"buypass.com", "buypass.no"},
	"actalis.com": {"actalis.it"},
}

// reservedNames rejects aliases that the program uses itself.
func (v *validator) reservedNames(c *Config) {
	for i, alias := range c.Aliases {
		key := indexKey("aliases", i)
		for _, own := range []string{"monitoring.", "status."} {
			if alias == own+c.Domain {
				v.add(key, v.redacted(key, alias)+" is reserved for the program's own pages; write another name, or remove it",
					v.toRemove(key))
			}
		}
		v.inZone(c, key, alias)
	}
}

// inZone rejects a name that the hosted zone cannot contain. Only the zone's id is known: its name is the site's or a
// parent domain, up to the registrable domain.
func (v *validator) inZone(c *Config, key, name string) {
	zone := registrable(c.Domain)
	if c.ZoneID == "" || within(strings.TrimPrefix(name, "*."), zone) || !host.MatchString(c.Domain) {
		return
	}
	v.add(key,
		fmt.Sprintf("%s is outside of %s, which the zone of %s cannot hold; write a name below it, or remove this one",
			v.redacted(key, name), zone, c.Domain), v.toRemove(key))
}

// registrable returns the registrable domain of a name: its last two labels, or three below domains such as co.uk.
func registrable(name string) string {
	labels := strings.Split(name, ".")
	count := 2
	if n := len(labels); n > 2 && len(labels[n-1]) == 2 &&
		slices.Contains([]string{
			"ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ltd", "mil", "ne", "net", "nom", "or", "org", "sch",
		}, labels[n-2]) {
		count = 3
	}
	return strings.Join(labels[max(0, len(labels)-count):], ".")
}

// dnsRecords validates the additional records and completes them.
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
		key := indexKey("dnsRecords", i)
		named := len(record.Name) <= 253 && recordName.MatchString(record.Name)
		v.check(named, key+".name", record.Name,
			"is not the full name of a record; write it in lower case, without a dot at its end", "www.example.org")
		if named {
			v.inZone(c, key+".name", record.Name)
		}
		v.check(slices.Contains(recordTypes, record.Type), key+".type", record.Type,
			"is not a type that can be set; write one of "+strings.Join(recordTypes, ", "), "TXT")
		if record.TTL == 0 {
			record.TTL = 3600
		}
		v.between(key+".ttl", record.TTL, 1, 604800, 3600)
		if len(record.Values) == 0 || slices.Contains(record.Values, "") {
			empty := max(0, slices.Index(record.Values, ""))
			v.add(key+".values", "is empty, or has an empty value; write values as in a zone file",
				v.toSet(indexKey(key+".values", empty), cmp.Or(valueExamples[record.Type], valueExamples["MX"])))
		} else {
			v.recordValues(key, record)
		}
		if record.Type == "CNAME" && len(record.Values) > 1 {
			v.add(key+".values", fmt.Sprintf("has %d values, but a name has one CNAME; write one", len(record.Values)),
				v.toRemove(indexKey(key+".values", 1)))
		}
		if known[set{record.Name, record.Type}] {
			v.add(key+".name",
				fmt.Sprintf("%s already has records of type %s; write all values of a name and type into one entry, and none of "+
					"type A for the site's own names",
					v.redacted(key, record.Name), v.redacted(key, record.Type)), v.toRemove(key))
		}
		known[set{record.Name, record.Type}] = true
	}
	for i, record := range c.DNSRecords {
		key := indexKey("dnsRecords", i)
		if slices.Contains(c.Names(), record.Name) && record.Type == "AAAA" {
			v.add(key+".type",
				v.redacted(key, record.Name)+
					" is a name of the site, and servers have no IPv6 address; remove the record, which visitors with IPv6 would "+
					"follow", v.toRemove(key))
		}
		if record.Name == c.StatusPageName() && record.Type != "CNAME" {
			v.add(key+".name",
				v.redacted(key, record.Name)+
					" is the name of the status page, whose CNAME excludes other records; move the record, or set statusPage to false",
				v.toRemove(key), v.toSet("statusPage", "false"))
		}
		if record.Type == "NS" {
			v.delegation(c, key, record)
		}
		if record.Type != "CNAME" {
			continue
		}
		if i := slices.IndexFunc(recordTypes,
			func(kind string) bool { return kind != "CNAME" && known[set{record.Name, kind}] }); i >= 0 {
			v.add(key+".type",
				fmt.Sprintf("%s has a record of type %s, which excludes a CNAME, so it cannot have a CNAME; write one of them only",
					v.redacted(key, record.Name), recordTypes[i]), v.toRemove(key))
		} else if record.Name == registrable(record.Name) {
			v.add(key+".type",
				v.redacted(key, record.Name)+
					" is the top of a zone, whose records exclude it, so it cannot have a CNAME; write its addresses as type A",
				v.toRemove(key))
		}
	}
	v.authority(c)
}

// delegation rejects NS records that delegate a name of the site or of another record.
func (v *validator) delegation(c *Config, key string, record DNSRecord) {
	if record.Name == registrable(record.Name) {
		v.add(key+".type",
			v.redacted(key, record.Name)+" is the top of a zone, whose name servers Route 53 sets; remove the record",
			v.toRemove(key))
		return
	}
	names := c.Names()
	for _, other := range c.DNSRecords {
		if other.Name != record.Name || other.Type != "NS" {
			names = append(names, other.Name)
		}
	}
	for _, name := range names {
		if within(name, record.Name) {
			v.add(key+".type",
				fmt.Sprintf("delegates %s to other name servers, and %s with it; write the records of that name there, or remove "+
					"this one", v.redacted(key, record.Name), name), v.toRemove(key))
			return
		}
	}
}

// authority rejects CAA records that keep the configured authority from issuing a certificate for a name of the site.
// The relevant record set is the name's or that of the closest parent domain with one (RFC 8659).
func (v *validator) authority(c *Config) {
	checked := map[string]bool{}
	for _, name := range c.Names() {
		for ; name != ""; _, name, _ = strings.Cut(name, ".") {
			i := indexCAA(c.DNSRecords, name)
			if i < 0 {
				continue
			}
			if !checked[name] {
				checked[name] = true
				v.issuers(c, indexKey("dnsRecords", i)+".values", c.DNSRecords[i].Values)
			}
			break
		}
	}
}

// issuers rejects the values of a CAA record that applies to a name of the site if none of them lets Traefik's
// account get certificates. Without an issue property, every authority may issue.
func (v *validator) issuers(c *Config, key string, values []string) {
	authority := fmt.Sprintf("the authority of acmeDirectory (%s)", hostOf(c.ACMEDirectory))
	at, command := 0, fmt.Sprintf("0 issue %q", identity(c.ACMEDirectory))
	var limits []string
	found := false
	for i, value := range values {
		flags, text, ok := issueProperty(value)
		if !ok {
			continue
		}
		found = true
		issued, reason := parseIssuance(text)
		if reason != "" {
			return // already reported for the value itself
		}
		if !issued.of(c.ACMEDirectory) {
			continue
		}
		right, reasons := issued.corrected(c.ACMEDirectory)
		if len(reasons) == 0 {
			return
		}
		if len(limits) == 0 {
			at, command = i, fmt.Sprintf("%s issue %q", flags, right)
		}
		limits = append(limits, fmt.Sprintf("in value %d, %s", i+1, strings.Join(reasons, ", and ")))
	}
	switch {
	case len(limits) > 0:
		v.add(key, fmt.Sprintf("do not allow %s to issue the site's certificate by HTTP: %s; write %s",
			authority, strings.Join(limits, "; "), command), v.toSet(indexKey(key, at), command))
	case found:
		v.add(key, fmt.Sprintf("does not allow %s to issue the site's certificate by HTTP; "+
			"write a value that names it, or change acmeDirectory", authority), v.toSet(indexKey(key, at), command))
	}
}

// identity returns a name of an ACME directory's authority in CAA records.
func identity(directory string) string {
	name := registrable(hostOf(directory))
	if names := authorities[name]; len(names) > 0 {
		return names[0]
	}
	return name
}

// valueExamples maps record types to example values.
var valueExamples = map[string]string{
	"A": "192.0.2.7", "AAAA": "2001:db8::7", "CAA": `0 issue "letsencrypt.org"`, "CNAME": "www.example.org.",
	"MX": "10 mail.example.org.",
	"NS": "ns1.example.org.", "SRV": "10 5 5060 sip.example.org.", "TXT": "v=spf1 -all",
}

// recordValues validates the values of a record by its type, and completes names in them with a trailing dot.
func (v *validator) recordValues(key string, record *DNSRecord) {
	for i, value := range record.Values {
		at := indexKey(key+".values", i)
		completed, reason := recordValue(record.Type, value)
		if reason != "" {
			v.check(false, at, value, reason, valueExamples[record.Type])
		} else if slices.Contains(record.Values[:i], completed) {
			v.add(at, v.redacted(at, value)+" is a duplicate, which Route 53 rejects; write each value once", v.toRemove(at))
		}
		record.Values[i] = completed
	}
}

// recordValue completes the value of a record. reason is why it is rejected, or "".
func recordValue(kind, value string) (completed, reason string) {
	fields := strings.Fields(value)
	// numbers reports whether the value consists of count 16-bit numbers and a name.
	numbers := func(count int) bool {
		if len(fields) != count+1 {
			return false
		}
		for _, field := range fields[:count] {
			if _, err := strconv.ParseUint(field, 10, 16); err != nil {
				return false
			}
		}
		return isTarget(fields[count]) || fields[count] == "."
	}
	switch kind {
	case "A":
		if address, err := netip.ParseAddr(value); err != nil || !address.Is4() {
			return value, "is not an IPv4 address; write one, or a record of type CNAME that leads to a name"
		}
	case "AAAA":
		if address, err := netip.ParseAddr(value); err != nil || !address.Is6() || address.Zone() != "" {
			return value, "is not an IPv6 address; write one"
		}
	case "CNAME", "NS":
		if !isTarget(value) {
			return value, "is not a host name; write the one that the record leads to"
		}
		return strings.TrimSuffix(value, ".") + ".", ""
	case "MX":
		if !numbers(1) {
			return value, "is not a priority and a host name; write both, such as 10 mail.example.org."
		}
		return fields[0] + " " + strings.TrimSuffix(fields[1], ".") + ".", ""
	case "SRV":
		if !numbers(3) {
			return value, "is not a priority, a weight, a port and a host name; write all four, such as 10 5 5060 " +
				"sip.example.org."
		}
		return strings.Join(fields[:3], " ") + " " + strings.TrimSuffix(fields[3], ".") + ".", ""
	case "CAA":
		return value, caaReason(value)
	case "TXT":
		switch {
		case len(value) > 1 && strings.HasPrefix(value, `"`) && strings.HasSuffix(value, `"`):
			return value, "has quotes, which would be part of the text; write the text without them"
		case !isASCII(value) || !isOneLine(value):
			return value, "has characters that Route 53 rejects; write printable ASCII"
		case len(value) > 4000:
			return value, "is longer than the 4,000 characters that Route 53 accepts; write a shorter one"
		}
	}
	return value, ""
}

func caaReason(value string) string {
	match := caa.FindStringSubmatch(value)
	if match == nil {
		return `is not of the form flags tag "value", with the quotes; write one such as 0 issue "letsencrypt.org"`
	}
	if flags, err := strconv.Atoi(match[1]); err != nil || flags != 0 && flags != 128 {
		return "has unknown flags; write 0, or 128 for a property that every authority must understand"
	}
	if !slices.Contains(caaTags, strings.ToLower(match[2])) {
		return "has an unknown tag; write one of " + strings.Join(caaTags, ", ")
	}
	if tag := strings.ToLower(match[2]); tag == "issue" || tag == "issuewild" {
		_, reason := parseIssuance(match[3])
		return reason
	}
	return ""
}

// isTarget reports whether a record can point to a name. Names whose last label is numeric are addresses.
func isTarget(name string) bool { return len(name) <= 254 && target.MatchString(name) }
