package server

import (
	"fmt"
	"strings"
)

// Mail is the SMTP server by which PHP's mail() sends.
type Mail struct {
	// Host and Port are where it listens. Without a host, mail() fails.
	Host string `pulumi:"host"`
	Port int    `pulumi:"port"`
	// User and Password log in to it; both are empty where it asks for no login.
	User     string `pulumi:"user"`
	Password string `pulumi:"password"`
	// From is the envelope sender of every message.
	From string `pulumi:"from"`
}

// SubmissionsPort is the port at which TLS begins with the connection (RFC 8314). At every other
// port it begins with STARTTLS.
const SubmissionsPort = 465

// address is the relay's host and port, "" without one.
func (m Mail) address() string {
	if m.Host == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d", m.Host, m.Port)
}

// mailService and mailPort are where PHP reaches the relay: see the service mail in compose.yaml.
const (
	mailService = "mail"
	mailPort    = 2525
)

// msmtprc is the configuration of msmtp, the program that sends. It is empty without a relay.
func (m Mail) msmtprc() string {
	if m.Host == "" {
		return ""
	}
	startTLS, auth := "on", "off"
	if m.Port == SubmissionsPort {
		startTLS = "off"
	}
	if m.User != "" {
		auth = "on"
	}
	lines := []string{
		"account default",
		"host " + mailService,
		fmt.Sprintf("port %d", mailPort),
		"tls_host_override " + m.Host,
		"timeout 20",
		// Never without TLS, and never with a certificate that is not the host's.
		"tls on",
		"tls_starttls " + startTLS,
		"tls_trust_file /run/roots.pem",
		"from " + m.From,
		// What the server calls itself in EHLO: relays refuse msmtp's own "localhost".
		"domain " + m.From[strings.LastIndex(m.From, "@")+1:],
		"allow_from_override off",
		"auth " + auth,
	}
	if m.User != "" {
		lines = append(lines, "user "+msmtpQuoted(m.User), "password "+msmtpQuoted(m.Password))
	}
	return strings.Join(lines, "\n") + "\n"
}

// msmtpQuoted is a value as msmtp's configuration has it: between the first and the last of its
// double quotes everything is literal.
func msmtpQuoted(value string) string { return `"` + value + `"` }
