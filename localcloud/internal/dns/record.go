// Package dns implements the local cloud's DNS: the record sets of its hosted zone, and an authoritative name server.
package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

const (
	maxTTL         = 1<<31 - 1 // seconds
	maxLabel       = 63
	maxName        = 253
	maxString      = 255  // bytes of one character string
	maxTextOfValue = 4000 // bytes of all strings of one TXT value
)

// Record is one record set: all values of one type at one name.
type Record struct {
	// Name is a fully qualified name in lower case, without the trailing dot. Its first label may be an asterisk.
	Name   string   `json:"name"`
	Type   string   `json:"type"` // one of Types
	TTL    int64    `json:"ttl"`  // seconds
	Values []string `json:"values"`
}

// Types returns the supported record types.
func Types() []string {
	return []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}
}

// RRs returns the records of the set. The error names the invalid value and says what to write. Values have Route
// 53's format: as in a zone file, but on one line, with fully qualified names only, and with octal instead of
// decimal escapes.
func (r Record) RRs() ([]dns.RR, error) {
	if err := checkName(strings.TrimPrefix(r.Name, "*.")); err != nil {
		return nil, fmt.Errorf("name %q: %w", r.Name, err)
	}
	records, err := r.records()
	if err != nil {
		return nil, fmt.Errorf("%s record set %s: %w", r.Type, r.Name, err)
	}
	return records, nil
}

func (r Record) records() (records []dns.RR, err error) {
	switch {
	case r.TTL < 1 || r.TTL > maxTTL:
		return nil, fmt.Errorf("TTL %d: write seconds between 1 and %d", r.TTL, maxTTL)
	case len(r.Values) == 0:
		return nil, errors.New("no values: write at least one")
	case r.Type == "CNAME" && len(r.Values) > 1:
		return nil, fmt.Errorf("%d values: a CNAME has only one", len(r.Values))
	}
	seen := map[string]bool{}
	for _, value := range r.Values {
		record, err := r.record(value)
		if err != nil {
			return nil, fmt.Errorf("value %q: %w", value, err)
		}
		if seen[record.String()] {
			return nil, fmt.Errorf("duplicate value %q", value)
		}
		seen[record.String()] = true
		records = append(records, record)
	}
	return records, nil
}

// Zone is a zone in the form of the zone file.
type Zone struct {
	Name string `json:"name"` // in lower case, without the trailing dot
	// Server is the zone's only name server: a name in the zone, with an address among the records.
	Server  string   `json:"server"`
	Records []Record `json:"records"`
}

// record converts a value to a line of a zone file, and parses the line.
func (r Record) record(value string) (record dns.RR, err error) {
	switch r.Type {
	case "A":
		if address, err := netip.ParseAddr(value); err != nil || !address.Is4() {
			return nil, errors.New("write an IPv4 address, such as 192.0.2.1")
		}
	case "AAAA":
		if address, err := netip.ParseAddr(value); err != nil || !address.Is6() || address.Zone() != "" {
			return nil, errors.New("write an IPv6 address, such as 2001:db8::1")
		}
	case "CNAME", "NS":
		value, err = fullName(value)
	case "MX":
		value, err = numbersAndHost(value, 1, "write a preference and a host, such as 10 mail.example.org")
	case "SRV":
		value, err = numbersAndHost(value, 3, "write priority, weight, port and host, such as 10 5 443 www.example.org")
	case "CAA":
		value, err = caaValue(value)
	case "TXT":
		_, value, err = characterStrings(value)
	default:
		err = fmt.Errorf("unknown type: write one of %s", strings.Join(Types(), ", "))
	}
	if err != nil {
		return nil, err
	}
	return dns.NewRR(fmt.Sprintf("%s %d IN %s %s", dns.Fqdn(r.Name), r.TTL, r.Type, value))
}

// numbersAndHost validates a value of count 16-bit numbers and a host name, in which "." means no host.
func numbersAndHost(value string, count int, usage string) (string, error) {
	fields := strings.Fields(value)
	if len(fields) != count+1 {
		return "", errors.New(usage)
	}
	for _, field := range fields[:count] {
		if _, err := strconv.ParseUint(field, 10, 16); err != nil {
			return "", fmt.Errorf("%q is not a number between 0 and 65535: %s", field, usage)
		}
	}
	if host := fields[count]; host != "." {
		if _, err := fullName(host); err != nil {
			return "", err
		}
	}
	return dns.Fqdn(strings.Join(fields, " ")), nil
}

var caaPattern = regexp.MustCompile(`^(\d+) +(\S+) +(.+)$`)

func caaValue(value string) (string, error) {
	const usage = `write flags, tag and a quoted value, such as 0 issue "letsencrypt.org"`
	parts := caaPattern.FindStringSubmatch(value)
	if parts == nil {
		return "", errors.New(usage)
	}
	if _, err := strconv.ParseUint(parts[1], 10, 8); err != nil {
		return "", errors.New(usage)
	}
	if strings.ContainsFunc(parts[2], func(c rune) bool { return !isLetterOrDigit(c) }) {
		return "", fmt.Errorf("tag %q contains characters other than letters and digits: %s", parts[2], usage)
	}
	count, text, err := characterStrings(parts[3])
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, usage)
	}
	if count != 1 {
		return "", errors.New(usage)
	}
	return parts[1] + " " + parts[2] + " " + text, nil
}

// fullName validates a name in a value and returns it with the trailing dot.
func fullName(name string) (string, error) {
	if err := checkName(strings.TrimSuffix(name, ".")); err != nil {
		return "", fmt.Errorf("%w: write a full name, such as www.example.org", err)
	}
	return dns.Fqdn(name), nil
}

// checkName validates a name. It allows the characters of host names, and the underscore of service names.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("longer than %d characters", maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("an empty label")
		case len(label) > maxLabel:
			return fmt.Errorf("label %q is longer than %d characters", label, maxLabel)
		case strings.ContainsFunc(label, func(c rune) bool { return !isLetterOrDigit(c) && c != '-' && c != '_' }):
			return fmt.Errorf("label %q contains characters other than letters, digits, hyphens and underscores", label)
		}
	}
	return nil
}

func isLetterOrDigit(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

var (
	quotedString = regexp.MustCompile(`^"((?:[^"\\]|\\.)*)"`)
	escaped      = regexp.MustCompile(`\\([0-3][0-7]{2}|[^0-9])`)
)

// characterStrings parses one or more quoted strings. It returns their number, and their text as in a zone file.
func characterStrings(value string) (count int, text string, err error) {
	size := 0
	for rest := strings.TrimLeft(value, " "); rest != ""; count++ {
		if rest[0] != '"' {
			return 0, "", errors.New("text outside of quotation marks")
		}
		match := quotedString.FindStringSubmatch(rest)
		if match == nil {
			return 0, "", errors.New("a quotation mark is missing")
		}
		if strings.ContainsFunc(match[1], func(c rune) bool { return c < ' ' || c > '~' }) {
			return 0, "", errors.New(
				"a character outside printable ASCII: write each of its bytes as a backslash and three octal digits")
		}
		if strings.Contains(escaped.ReplaceAllString(match[1], ""), `\`) {
			return 0, "", errors.New("a backslash without a quotation mark, a backslash or three octal digits after it")
		}
		length := len(escaped.ReplaceAllString(match[1], "x"))
		if length > maxString {
			return 0, "", fmt.Errorf(
				"a string of %d bytes: split it into strings of at most %d, each in quotation marks", length, maxString)
		}
		size += length
		text += match[0] + " "
		rest = strings.TrimLeft(rest[len(match[0]):], " ")
	}
	if count == 0 {
		return 0, "", errors.New("no text in quotation marks")
	}
	if size > maxTextOfValue {
		return 0, "", fmt.Errorf("%d bytes of text: write at most %d", size, maxTextOfValue)
	}
	// Route 53 uses octal escapes, a zone file decimal ones.
	text = escaped.ReplaceAllStringFunc(text, func(escape string) string {
		if code, err := strconv.ParseUint(escape[1:], 8, 8); err == nil {
			return fmt.Sprintf(`\%03d`, code)
		}
		return escape
	})
	return count, text, nil
}
