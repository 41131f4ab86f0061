// Package names is the DNS of the local cloud: the record sets of its hosted
// zone, and the server that answers from them.
package names

import (
	"errors"
	"fmt"
	"net/netip"
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
	// Name is a full name without the final dot, in lower case. Its first
	// label may be an asterisk.
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
	if r.TTL < 1 || r.TTL > maxTTL {
		return nil, fmt.Errorf("%s record set %s: TTL %d: write seconds between 1 and %d", r.Type, r.Name, r.TTL, maxTTL)
	}
	if len(r.Values) == 0 {
		return nil, fmt.Errorf("%s record set %s: it has no value", r.Type, r.Name)
	}
	if r.Type == "CNAME" && len(r.Values) > 1 {
		return nil, fmt.Errorf("CNAME record set %s: it has %d values: a CNAME has one", r.Name, len(r.Values))
	}
	seen := map[string]bool{}
	var records []dns.RR
	for _, value := range r.Values {
		record, err := r.record(value)
		if err != nil {
			return nil, fmt.Errorf("%s record set %s: value %q: %w", r.Type, r.Name, value, err)
		}
		if seen[record.String()] {
			return nil, fmt.Errorf("%s record set %s: it has the value %q twice", r.Type, r.Name, value)
		}
		seen[record.String()] = true
		records = append(records, record)
	}
	return records, nil
}

func (r Record) record(value string) (dns.RR, error) {
	header := dns.RR_Header{Name: dns.Fqdn(r.Name), Rrtype: dns.StringToType[r.Type], Class: dns.ClassINET, Ttl: uint32(r.TTL)}
	switch r.Type {
	case "A":
		address, err := netip.ParseAddr(value)
		if err != nil || !address.Is4() {
			return nil, errors.New("write an IPv4 address, such as 192.0.2.1")
		}
		return &dns.A{Hdr: header, A: address.AsSlice()}, nil
	case "AAAA":
		address, err := netip.ParseAddr(value)
		if err != nil || !address.Is6() || address.Zone() != "" {
			return nil, errors.New("write an IPv6 address, such as 2001:db8::1")
		}
		return &dns.AAAA{Hdr: header, AAAA: address.AsSlice()}, nil
	case "CNAME":
		target, err := fullName(value)
		return &dns.CNAME{Hdr: header, Target: target}, err
	case "NS":
		target, err := fullName(value)
		return &dns.NS{Hdr: header, Ns: target}, err
	case "MX":
		return mailExchange(header, value)
	case "SRV":
		return service(header, value)
	case "CAA":
		return authorization(header, value)
	case "TXT":
		return text(header, value)
	}
	return nil, fmt.Errorf("unknown type: write one of %s", strings.Join(Types(), ", "))
}

func mailExchange(header dns.RR_Header, value string) (dns.RR, error) {
	const usage = "write a preference and a host, such as 10 mail.example.org"
	fields := strings.Fields(value)
	if len(fields) != 2 {
		return nil, errors.New(usage)
	}
	numbers, err := integers(fields[:1])
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, usage)
	}
	host, err := hostOrRoot(fields[1])
	return &dns.MX{Hdr: header, Preference: numbers[0], Mx: host}, err
}

func service(header dns.RR_Header, value string) (dns.RR, error) {
	const usage = "write priority, weight, port and host, such as 10 5 443 www.example.org"
	fields := strings.Fields(value)
	if len(fields) != 4 {
		return nil, errors.New(usage)
	}
	numbers, err := integers(fields[:3])
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, usage)
	}
	host, err := hostOrRoot(fields[3])
	return &dns.SRV{Hdr: header, Priority: numbers[0], Weight: numbers[1], Port: numbers[2], Target: host}, err
}

func authorization(header dns.RR_Header, value string) (dns.RR, error) {
	const usage = `write flags, tag and a quoted value, such as 0 issue "letsencrypt.org"`
	flags, rest, _ := strings.Cut(value, " ")
	tag, quoted, found := strings.Cut(strings.TrimLeft(rest, " "), " ")
	number, err := strconv.ParseUint(flags, 10, 8)
	if err != nil || !found || tag == "" {
		return nil, errors.New(usage)
	}
	for _, c := range []byte(tag) {
		if !isLetter(c) && !isDigit(c) {
			return nil, fmt.Errorf("the tag %q has another character than letters and digits: %s", tag, usage)
		}
	}
	values, err := characterStrings(quoted)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, usage)
	}
	if len(values) != 1 {
		return nil, errors.New(usage)
	}
	return &dns.CAA{Hdr: header, Flag: uint8(number), Tag: tag, Value: values[0]}, nil
}

func text(header dns.RR_Header, value string) (dns.RR, error) {
	parts, err := characterStrings(value)
	if err != nil {
		return nil, err
	}
	return &dns.TXT{Hdr: header, Txt: parts}, nil
}

// integers reads numbers of 16 bits.
func integers(fields []string) ([]uint16, error) {
	var numbers []uint16
	for _, field := range fields {
		number, err := strconv.ParseUint(field, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no number between 0 and 65535", field)
		}
		numbers = append(numbers, uint16(number))
	}
	return numbers, nil
}

// hostOrRoot is fullName for a value in which "." says that there is no host.
func hostOrRoot(name string) (string, error) {
	if name == "." {
		return name, nil
	}
	return fullName(name)
}

// fullName checks a name in a value and returns it with its final dot.
func fullName(name string) (string, error) {
	if err := checkName(strings.TrimSuffix(name, ".")); err != nil {
		return "", fmt.Errorf("%w: write a full name, such as www.example.org", err)
	}
	return dns.Fqdn(name), nil
}

// checkName accepts the characters of host names and the underscore of service
// names.
func checkName(name string) error {
	if len(name) > maxName {
		return fmt.Errorf("it is longer than %d characters", maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" {
			return errors.New("it has an empty label")
		}
		if len(label) > maxLabel {
			return fmt.Errorf("the label %q is longer than %d characters", label, maxLabel)
		}
		for _, c := range []byte(label) {
			if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return fmt.Errorf("the label %q has another character than letters, digits, hyphen and underscore", label)
			}
		}
	}
	return nil
}

// characterStrings reads one or more quoted strings and returns them in the
// form of zone files, without the quotation marks.
func characterStrings(value string) ([]string, error) {
	var parts []string
	var current []byte
	size, inside := 0, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case !inside && c == ' ':
		case !inside && c == '"':
			inside, current = true, nil
		case !inside:
			return nil, errors.New("it has text outside of quotation marks")
		case c == '"':
			if len(current) > maxString {
				return nil, fmt.Errorf("it has a string of %d bytes: split it into strings of at most %d, each in quotation marks", len(current), maxString)
			}
			inside, parts = false, append(parts, escape(current))
		case c == '\\':
			if i++; i == len(value) {
				return nil, errors.New("it ends in a backslash")
			}
			if !isDigit(value[i]) {
				current, size = append(current, value[i]), size+1
				continue
			}
			code, err := strconv.ParseUint(value[i:min(i+3, len(value))], 8, 8)
			if err != nil || i+3 > len(value) {
				return nil, errors.New("a backslash stands before a quotation mark, a backslash, or three octal digits")
			}
			current, size = append(current, byte(code)), size+1
			i += 2
		case c < ' ' || c > '~':
			return nil, errors.New(`it has a character beyond ASCII: write each of its bytes as a backslash and three octal digits`)
		default:
			current, size = append(current, c), size+1
		}
	}
	if inside {
		return nil, errors.New("a quotation mark is missing")
	}
	if len(parts) == 0 {
		return nil, errors.New("it has no text in quotation marks")
	}
	if size > maxTextOfValue {
		return nil, fmt.Errorf("it has %d bytes of text: at most %d", size, maxTextOfValue)
	}
	return parts, nil
}

// escape writes bytes as zone files do, which is also how the dns package
// keeps them.
func escape(text []byte) string {
	var escaped []byte
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			escaped = append(escaped, '\\', c)
		case c < ' ' || c > '~':
			escaped = fmt.Appendf(escaped, `\%03d`, c)
		default:
			escaped = append(escaped, c)
		}
	}
	return string(escaped)
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
