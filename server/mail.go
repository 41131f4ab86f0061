package server

import (
	"fmt"
	"strings"
)

// SubmissionsPort is the port with implicit TLS (RFC 8314). All other ports use STARTTLS.
const SubmissionsPort = 465

// relay returns the relay's host and port, or "" without one.
func (s *Settings) relay() string {
	if s.SMTPHost == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", s.SMTPHost, s.SMTPPort)
}

// mailService and mailPort are the relay's address as seen by PHP: see the service mail in compose.yaml.
const (
	mailService = "mail"
	mailPort    = 2525
)

// msmtprc returns the configuration of msmtp, which sends the mail, or "" without a relay.
func (s *Settings) msmtprc(password string) string {
	if s.SMTPHost == "" {
		return ""
	}
	startTLS, auth := "on", "off"
	if s.SMTPPort == SubmissionsPort {
		startTLS = "off"
	}
	if s.SMTPUser != "" {
		auth = "on"
	}
	lines := []string{
		"account default",
		"host " + mailService,
		fmt.Sprintf("port %d", mailPort),
		"tls_host_override " + s.SMTPHost,
		"timeout 20",
		// Always TLS, always with a certificate for the relay's host.
		"tls on",
		"tls_starttls " + startTLS,
		"tls_trust_file /run/roots.pem",
		"from " + s.SMTPFrom,
		// The name for EHLO: relays reject msmtp's default, "localhost".
		"domain " + s.SMTPFrom[strings.LastIndex(s.SMTPFrom, "@")+1:],
		"allow_from_override off",
		"auth " + auth,
	}
	if s.SMTPUser != "" {
		lines = append(lines, "user "+msmtpQuoted(s.SMTPUser), "password "+msmtpQuoted(password))
	}
	return strings.Join(lines, "\n") + "\n"
}

// msmtpQuoted quotes a value for msmtp, which treats everything between the first and the last double quote literally.
func msmtpQuoted(value string) string { return `"` + value + `"` }
