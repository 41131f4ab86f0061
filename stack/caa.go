package stack

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// validationMethod is the ACME challenge (RFC 8555) that Traefik uses: HTTP.
const validationMethod = "http-01"

var (
	// issuerName matches the name of an authority in an issue or issuewild property (RFC 8659), parameterTag the tag of a
	// parameter.
	issuerName   = regexp.MustCompile(`^[A-Za-z0-9]+(-+[A-Za-z0-9]+)*(\.[A-Za-z0-9]+(-+[A-Za-z0-9]+)*)*$`)
	parameterTag = regexp.MustCompile(`^[A-Za-z0-9]+(-+[A-Za-z0-9]+)*$`)
	// parameterValue matches the value of a parameter: printable ASCII except the semicolon.
	parameterValue = regexp.MustCompile(`^[!-:<-~]*$`)
	// methodNames matches the value of validationmethods (RFC 8657).
	methodNames = regexp.MustCompile(`^([A-Za-z0-9-]+(,[A-Za-z0-9-]+)*)?$`)
)

// issuance is the value of an issue or issuewild property of a CAA record: which authority may issue (RFC 8659), for
// which account, and with which validation methods (RFC 8657).
type issuance struct {
	// issuer is the authority's name in lower case; "" allows no authority.
	issuer string
	// account is the URL of the only account that may request certificates; "" allows any.
	account string
	// methods are the allowed validation methods; nil allows any.
	methods []string
	// others are the parameters that only the authority interprets.
	others []string
}

// indexCAA returns the index of a name's CAA record, or -1.
func indexCAA(records []DNSRecord, name string) int {
	return slices.IndexFunc(records, func(record DNSRecord) bool { return record.Type == "CAA" && record.Name == name })
}

// issueProperty splits the value of a CAA record into its flags and text. ok is false if its property is not issue.
func issueProperty(value string) (flags, text string, ok bool) {
	match := caa.FindStringSubmatch(value)
	if match == nil || !strings.EqualFold(match[2], "issue") {
		return "", "", false
	}
	return match[1], match[3], true
}

// parseIssuance parses the value of an issue or issuewild property. reason is why it is rejected, or "". A duplicate
// parameter is rejected, because no authority would issue.
func parseIssuance(value string) (issued issuance, reason string) {
	name, parameters, _ := strings.Cut(value, ";")
	issued.issuer = strings.ToLower(strings.Trim(name, " \t"))
	if issued.issuer != "" && !issuerName.MatchString(issued.issuer) {
		return issued, "names an authority by what is not a domain; write one such as letsencrypt.org"
	}
	if strings.Trim(parameters, " \t") == "" {
		return issued, ""
	}
	seen := map[string]bool{}
	for parameter := range strings.SplitSeq(parameters, ";") {
		tag, text, found := strings.Cut(parameter, "=")
		tag, text = strings.ToLower(strings.Trim(tag, " \t")), strings.Trim(text, " \t")
		switch {
		case !found || !parameterTag.MatchString(tag) || !parameterValue.MatchString(text):
			return issued, "has a parameter that is not of the form tag=value; separate parameters by semicolons, " +
				"such as validationmethods=" + validationMethod
		case seen[tag]:
			return issued, "has the parameter " + tag + " twice, so that no authority issues by it; write it once"
		}
		seen[tag] = true
		switch tag {
		case "validationmethods":
			if !methodNames.MatchString(text) {
				return issued, "has validationmethods that are not names separated by commas; " +
					"write validationmethods=" + validationMethod
			}
			issued.methods = strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
		case "accounturi":
			if account, err := url.Parse(text); err != nil || account.Scheme != "https" || account.Hostname() == "" {
				return issued, "has an accounturi that is not the https URL of an account; " +
					"write the one that sudo agent ready shows on a server"
			}
			issued.account = text
		default:
			issued.others = append(issued.others, tag+"="+text)
		}
	}
	return issued, ""
}

// String returns the value as in a CAA record.
func (i issuance) String() string {
	parts := []string{i.issuer}
	if i.methods != nil {
		parts = append(parts, "validationmethods="+strings.Join(i.methods, ","))
	}
	if i.account != "" {
		parts = append(parts, "accounturi="+i.account)
	}
	return strings.Join(append(parts, i.others...), "; ")
}

// of reports whether the value names the authority of an ACME directory: by the directory's host, by a parent domain,
// or by a name in authorities.
func (i issuance) of(directory string) bool {
	if !strings.Contains(i.issuer, ".") {
		return false
	}
	return within(hostOf(directory), i.issuer) || slices.Contains(authorities[registrable(hostOf(directory))], i.issuer)
}

// corrected changes a value that names the authority of an ACME directory so that Traefik's account there can get
// certificates. reasons describes the changes; it is empty if the value is fine as it is.
func (i issuance) corrected(directory string) (right issuance, reasons []string) {
	right = i
	if i.methods != nil && !slices.Contains(i.methods, validationMethod) {
		reasons = append(reasons, fmt.Sprintf("validationmethods lacks %s, the one that Traefik uses", validationMethod))
		right.methods = []string{validationMethod}
	}
	if i.account != "" && !strings.EqualFold(hostOf(i.account), hostOf(directory)) {
		reasons = append(reasons, "accounturi is no account of "+hostOf(directory))
		right.account = ""
	}
	return right, reasons
}

// ownAccount rejects a name that is covered only by a CAA record of another stack, for a parent domain, if that record
// allows a single account: each stack has its own account.
func (v *validator) ownAccount(c *Config, others []siblingStack) {
	if c.ZoneID == "" {
		return // an operator creates the records by hand
	}
	records := c.DNSRecords
	for _, name := range c.Names() {
		for above := name; above != ""; _, above, _ = strings.Cut(above, ".") {
			if indexCAA(records, above) >= 0 {
				break
			}
			i := slices.IndexFunc(others, func(other siblingStack) bool { return indexCAA(other.config.DNSRecords, above) >= 0 })
			if i < 0 {
				continue
			}
			record := others[i].config.DNSRecords[indexCAA(others[i].config.DNSRecords, above)]
			if !allowsOneAccount(record.Values, c.ACMEDirectory) {
				break
			}
			key := indexKey("dnsRecords", len(records))
			value := fmt.Sprintf("0 issue %q", issuance{issuer: identity(c.ACMEDirectory), methods: []string{validationMethod}})
			v.add("dnsRecords",
				fmt.Sprintf("has no CAA record for %s, and that of %s in %s allows another stack's account only; "+
					"write one, such as %s", name, above, others[i].file, value),
				v.toSet(key+".name", name), v.toSet(key+".type", record.Type), v.toSet(indexKey(key+".values", 0), value))
			records = append(slices.Clone(records), DNSRecord{Name: name, Type: record.Type})
			break
		}
	}
}

// allowsOneAccount reports whether the values of a CAA record restrict an authority to specific accounts.
func allowsOneAccount(values []string, directory string) bool {
	single := false
	for _, value := range values {
		_, text, ok := issueProperty(value)
		if !ok {
			continue
		}
		if issued, reason := parseIssuance(text); reason == "" && issued.of(directory) {
			if issued.account == "" {
				return false
			}
			single = true
		}
	}
	return single
}
