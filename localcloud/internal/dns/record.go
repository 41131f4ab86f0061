// Package dns is the DNS of the local cloud: the record sets of its hosted
// zone, and the server that answers from them.
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
	maxTextOfValue = 4000 // bytes of one TXT value, all its strings together
)

// Record is one record set: all values of one type at one name.
type Record struct {
	// Name is a full name without the final dot, in lower case. Its first label may be an asterisk.
	Name   string   `json:"name"`
	Type   string   `json:"type"` // one of Types
	TTL    int64    `json:"ttl"`  // seconds
	Values []string `json:"values"`
}

// Types are the types of the record sets that can be served.
func Types() []string {
	return []string{"A", "AAAA", "CAA", "CNAME", "MX", "NS", "SRV", "TXT"}
}

// RRs returns the records of the set. The error says which value is wrong, and
// what to write. Values have Route 53's form: as in a zone file, but on one
// line, with full names only and octal codes where a zone file has decimal ones.
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
		return nil, errors.New("it has no value")
	case r.Type == "CNAME" && len(r.Values) > 1:
		return nil, fmt.Errorf("it has %d values: a CNAME has one", len(r.Values))
	}
	seen := map[string]bool{}
	for _, value := range r.Values {
		record, err := r.record(value)
		if err != nil {
			return nil, fmt.Errorf("value %q: %w", value, err)
		}
		if seen[record.String()] {
			return nil, fmt.Errorf("it has the value %q twice", value)
		}
		seen[record.String()] = true
		records = append(records, record)
	}
	return records, nil
}

// Zone is a zone as it is kept in a file.
type Zone struct {
	Name string `json:"name"` // without the final dot, in lower case
	// Server is the zone's one name server: a name within it, with an address among the records.
	Server  string   `json:"server"`
	Records []Record `json:"records"`
}

// record writes a value as a line of a zone file, and has that parsed.
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
		value, err = authorization(value)
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

// numbersAndHost checks count numbers of 16 bits and a name, in which "." means no host.
func numbersAndHost(value string, count int, usage string) (string, error) {
	fields := strings.Fields(value)
	if len(fields) != count+1 {
		return "", errors.New(usage)
	}
	for _, field := range fields[:count] {
		if _, err := strconv.ParseUint(field, 10, 16); err != nil {
			return "", fmt.Errorf("%q is no number between 0 and 65535: %s", field, usage)
		}
	}
	if host := fields[count]; host != "." {
		if _, err := fullName(host); err != nil {
			return "", err
		}
	}
	return dns.Fqdn(strings.Join(fields, " ")), nil
}

var authorizationPattern = regexp.MustCompile(`^(\d+) +(\S+) +(.+)$`)

func authorization(value string) (string, error) {
	const usage = `write flags, tag and a quoted value, such as 0 issue "letsencrypt.org"`
	parts := authorizationPattern.FindStringSubmatch(value)
	if parts == nil {
		return "", errors.New(usage)
	}
	if _, err := strconv.ParseUint(parts[1], 10, 8); err != nil {
		return "", errors.New(usage)
	}
	if strings.ContainsFunc(parts[2], func(c rune) bool { return !isLetterOrDigit(c) }) {
		return "", fmt.Errorf("the tag %q has another character than letters and digits: %s", parts[2], usage)
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

// fullName checks a name in a value and returns it with its final dot.
func fullName(name string) (string, error) {
	if err := checkName(strings.TrimSuffix(name, ".")); err != nil {
		return "", fmt.Errorf("%w: write a full name, such as www.example.org", err)
	}
	return dns.Fqdn(name), nil
}

// checkName accepts the characters of host names and the underscore of service names.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("it is longer than %d characters", maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return errors.New("it has an empty label")
		case len(label) > maxLabel:
			return fmt.Errorf("the label %q is longer than %d characters", label, maxLabel)
		case strings.ContainsFunc(label, func(c rune) bool { return !isLetterOrDigit(c) && c != '-' && c != '_' }):
			return fmt.Errorf("the label %q has another character than letters, digits, hyphen and underscore", label)
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

// characterStrings reads one or more quoted strings. It returns how many, and their form in a zone file.
func characterStrings(value string) (count int, text string, err error) {
	size := 0
	for rest := strings.TrimLeft(value, " "); rest != ""; count++ {
		if rest[0] != '"' {
			return 0, "", errors.New("it has text outside of quotation marks")
		}
		match := quotedString.FindStringSubmatch(rest)
		if match == nil {
			return 0, "", errors.New("a quotation mark is missing")
		}
		if strings.ContainsFunc(match[1], func(c rune) bool { return c < ' ' || c > '~' }) {
			return 0, "",
				errors.New(`it has a character beyond ASCII: write each of its bytes as a backslash and three octal digits`)
		}
		if strings.Contains(escaped.ReplaceAllString(match[1], ""), `\`) {
			return 0, "", errors.New("a backslash stands before a quotation mark, a backslash, or three octal digits")
		}
		length := len(escaped.ReplaceAllString(match[1], "x"))
		if length > maxString {
			return 0, "", fmt.Errorf(
				"it has a string of %d bytes: split it into strings of at most %d, each in quotation marks", length, maxString)
		}
		size += length
		text += match[0] + " "
		rest = strings.TrimLeft(rest[len(match[0]):], " ")
	}
	if count == 0 {
		return 0, "", errors.New("it has no text in quotation marks")
	}
	if size > maxTextOfValue {
		return 0, "", fmt.Errorf("it has %d bytes of text: at most %d", size, maxTextOfValue)
	}
	// Where Route 53 has octal codes, a zone file has decimal ones.
	text = escaped.ReplaceAllStringFunc(text, func(escape string) string {
		if code, err := strconv.ParseUint(escape[1:], 8, 8); err == nil {
			return fmt.Sprintf(`\%03d`, code)
		}
		return escape
	})
	return count, text, nil
}
