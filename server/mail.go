package server

import (
	"fmt"
	"strings"
)

// SubmissionsPort is the port at which TLS begins with the connection (RFC 8314). At every other
// port it begins with STARTTLS.
const SubmissionsPort = 465

// relay is the relay's host and port, "" without one.
func (s *Settings) relay() string {
	if s.SMTPHost == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", s.SMTPHost, s.SMTPPort)
}

// mailService and mailPort are where PHP reaches the relay: see the service mail in compose.yaml.
const (
	mailService = "mail"
	mailPort    = 2525
)

// msmtprc is the configuration of msmtp, the program that sends. It is empty without a relay.
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
		// Never without TLS, and never with a certificate that is not the host's.
		"tls on",
		"tls_starttls " + startTLS,
		"tls_trust_file /run/roots.pem",
		"from " + s.SMTPFrom,
		// What the server calls itself in EHLO: relays refuse msmtp's own "localhost".
		"domain " + s.SMTPFrom[strings.LastIndex(s.SMTPFrom, "@")+1:],
		"allow_from_override off",
		"auth " + auth,
	}
	if s.SMTPUser != "" {
		lines = append(lines, "user "+msmtpQuoted(s.SMTPUser), "password "+msmtpQuoted(password))
	}
	return strings.Join(lines, "\n") + "\n"
}

// msmtpQuoted is a value as msmtp's configuration has it: between the first and the last of its
// double quotes everything is literal.
func msmtpQuoted(value string) string { return `"` + value + `"` }
