package uptime

import (
	"encoding/json"
	"html"
	"net/url"
	"strings"
)

// shortestSecret is the length from which a segment of a secret URL's path is taken for a secret itself.
const shortestSecret = 16

// redactor removes secrets from messages.
type redactor struct {
	replacer *strings.Replacer
}

// newRedactor removes an API key, and the URL of a web-hook with the key in its path.
func newRedactor(key, webhook string) redactor {
	secrets := []string{webhook, key}
	if parsed, err := url.Parse(webhook); err == nil {
		for part := range strings.SplitSeq(parsed.Path, "/") {
			if len(part) >= shortestSecret {
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
		for _, form := range []string{secret, html.EscapeString(secret), url.QueryEscape(secret), url.PathEscape(secret), inJSON(secret)} {
			pairs = append(pairs, form, "(secret)")
		}
	}
	return redactor{strings.NewReplacer(pairs...)}
}

func inJSON(secret string) string {
	encoded, err := json.Marshal(secret)
	if err != nil {
		return secret // no string fails
	}
	return strings.Trim(string(encoded), `"`)
}

func (r redactor) redact(message string) string { return r.replacer.Replace(message) }
