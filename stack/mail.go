package stack

import (
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// preloadMaxAge is the minimum hstsMaxAge for preloading, in seconds.
const preloadMaxAge = 365 * 24 * 60 * 60

func (v *validator) hsts(c *Config) {
	if !c.HSTSPreload {
		return
	}
	if !c.HSTSIncludeSubDomains {
		v.add("hstsIncludeSubDomains",
			"is false, but browsers preload a site with its subdomains only; set it to true if all of them serve HTTPS, or "+
				"set hstsPreload to false",
			v.toSet("hstsIncludeSubDomains", "true"), v.toSet("hstsPreload", "false"))
	}
	if c.HSTSMaxAge < preloadMaxAge {
		v.add("hstsMaxAge",
			v.redactedNumber("hstsMaxAge", c.HSTSMaxAge)+
				" is less than the year that preloading requires; write a year, or set hstsPreload to false",
			v.toSet("hstsMaxAge", strconv.Itoa(preloadMaxAge)), v.toSet("hstsPreload", "false"))
	}
}

// noSender is the SPF record (RFC 7208) of a domain that sends no mail.
const noSender = "v=spf1 -all"

// sender matches an address that msmtp does not expand: "%" and "*" are special.
var sender = regexp.MustCompile(`^[A-Za-z0-9._+=-]+@[^@]+$`)

// maxCredential is the maximum length of a user name or password in msmtp's configuration, in bytes.
const maxCredential = 256

// smtp validates the settings of the mail relay, and completes them.
func (v *validator) smtp(c *Config) {
	defaults := Defaults()
	if c.SMTPHost == "" {
		for key, set := range map[string]bool{
			"smtpPort": c.SMTPPort != defaults.SMTPPort, "smtpUser": c.SMTPUser != "",
			"smtpPassword": c.secret.SMTPPassword != "", "smtpFrom": c.SMTPFrom != "",
		} {
			if set {
				v.add(key, "is set without smtpHost, so no mail would be sent; write the relay's host, or remove this key",
					v.toSet("smtpHost", examples("smtpHost", "")), v.toRemove(key))
			}
		}
	} else {
		v.hostName("smtpHost", c.SMTPHost, examples("smtpHost", ""))
	}
	if c.SMTPPort == 25 {
		v.add("smtpPort",
			v.redactedNumber("smtpPort", c.SMTPPort)+" is blocked by AWS; write the relay's submission port, 587 or 465",
			v.toSet("smtpPort", strconv.Itoa(defaults.SMTPPort)))
	}
	if c.SMTPUser != "" && c.secret.SMTPPassword == "" {
		v.add("smtpPassword", "not set, but required with smtpUser; set both, or neither", v.toSet("smtpPassword", ""))
	}
	if c.SMTPUser == "" && c.secret.SMTPPassword != "" {
		v.add("smtpUser", "not set, but required with smtpPassword; set both, or neither",
			v.toSet("smtpUser", examples("smtpUser", "")))
	}
	for key, value := range map[string]string{"smtpUser": c.SMTPUser, "smtpPassword": c.secret.SMTPPassword} {
		v.check(len(value) <= maxCredential && isOneLine(value), key, value,
			"is longer than 256 bytes, or has a control character; write one line, as the relay's provider shows it",
			examples(key, ""))
	}
	if c.SMTPFrom == "" && c.SMTPHost != "" {
		c.SMTPFrom = "noreply@" + c.Domain
	}
	for i, record := range c.DNSRecords {
		if j := slices.Index(record.Values, noSender); c.SMTPHost != "" && record.Type == "TXT" &&
			record.Name == domainOf(c.SMTPFrom) && j >= 0 {
			key := indexKey(indexKey("dnsRecords", i)+".values", j)
			v.add(key,
				v.redacted(key, noSender)+" excludes mail from "+record.Name+
					", which smtpFrom sends; write the relay provider's SPF record, or remove smtpHost",
				v.toSet(key, "v=spf1 a:"+c.SMTPHost+" -all"))
		}
	}
	v.check(c.SMTPFrom == "" || isAddress(c.SMTPFrom) && sender.MatchString(c.SMTPFrom), "smtpFrom", c.SMTPFrom,
		"is not an e-mail address of letters, digits and . _ + = -; write the address for bounces, without a name",
		examples("smtpFrom", ""))
}

// isAddress reports whether a text is an e-mail address without a display name, at a host name.
func isAddress(text string) bool {
	address, err := mail.ParseAddress(text)
	return err == nil && address.Address == text && isASCII(text) && len(domainOf(text)) <= 253 &&
		host.MatchString(strings.ToLower(domainOf(text)))
}

// domainOf returns the domain of an e-mail address.
func domainOf(address string) string { return address[strings.LastIndex(address, "@")+1:] }

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= 0x7f })
}

func isOneLine(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
