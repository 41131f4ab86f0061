package uptime

import (
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
)

// minSecret is the length from which on a segment in the path of a secret URL counts as a secret itself, in bytes.
const minSecret = 16

// address matches an e-mail address: a response may quote the addresses of the account's contacts.
var address = regexp.MustCompile(`[\w.%+'=-]+@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}`)

// redactor removes secrets and e-mail addresses from messages.
type redactor struct {
	replacer *strings.Replacer
}

// newRedactor returns a redactor for an API key, and for the URL of a web-hook with a key in its path.
func newRedactor(key, webhook string) redactor {
	secrets := []string{webhook, key}
	if parsed, err := url.Parse(webhook); err == nil {
		for part := range strings.SplitSeq(parsed.Path, "/") {
			if len(part) >= minSecret {
				secrets = append(secrets, part)
			}
		}
	}
	var pairs []string
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		// A response may quote the request in any of these forms.
		for _, form := range []string{
			secret, html.EscapeString(secret), url.QueryEscape(secret), url.PathEscape(secret), inJSON(secret),
		} {
			pairs = append(pairs, form, "(secret)")
		}
	}
	return redactor{strings.NewReplacer(pairs...)}
}

func inJSON(secret string) string {
	encoded, err := json.Marshal(secret)
	if err != nil {
		return secret // cannot happen for a string
	}
	return strings.Trim(string(encoded), `"`)
}

func (r redactor) redact(message string) string {
	return address.ReplaceAllString(r.replacer.Replace(message), "(e-mail)")
}
