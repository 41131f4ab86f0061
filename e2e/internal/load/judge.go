package load

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
)

// judge classifies a response. kind is "" for a page with the SHA-256 want.
func judge(status int, body []byte, err error, want string) (kind, detail string) {
	switch {
	case err != nil:
		return kindOf(err.Error()), err.Error()
	case status != http.StatusOK:
		return fmt.Sprintf("status %d", status), http.StatusText(status)
	case want == "":
		return "", ""
	}
	digest := sha256.Sum256(body)
	if got := hex.EncodeToString(digest[:]); got != want {
		return "wrong body", fmt.Sprintf("%d bytes with SHA-256 %s", len(body), got)
	}
	return "", ""
}

// kindOf classifies an error by its text, because vegeta keeps only that.
func kindOf(message string) string {
	for _, known := range []struct{ text, kind string }{
		{"connection reset by peer", "reset"},
		{"broken pipe", "reset"},
		{"connection refused", "refused"},
		{"Client.Timeout", "timeout"},
		{"i/o timeout", "timeout"},
		{"connection timed out", "timeout"},
		{"context deadline exceeded", "timeout"},
		{"EOF", "eof"},
		{"server closed idle connection", "eof"},
		{"tls: failed to verify certificate", "certificate"},
		{"no route to host", "unreachable"},
		{"network is unreachable", "unreachable"},
		{"cannot assign requested address", "client"},
		{"too many open files", "client"},
	} {
		if strings.Contains(message, known.text) {
			return known.kind
		}
	}
	return "other"
}
