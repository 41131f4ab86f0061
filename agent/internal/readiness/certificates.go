package readiness

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"immutable-infra/agent/internal/certificates"
	"immutable-infra/agent/internal/web"
)

// noneYet is the detail for a name whose first certificate cannot be requested before the VIP arrives.
const noneYet = "none yet: requested when the VIP arrives"

// Certificates checks that each name of the site is served with a certificate of its own, which is in acme.json
// and valid long enough.
//
// A name without a backed up certificate has none before the VIP arrives, because the certificate authority
// validates the name at the VIP. Until then the check passes.
type Certificates struct {
	// Address is host:port of the site's proxy on this server.
	Address string
	Names   []string
	// File is the path of acme.json, and Record the path of the last restore's result.
	File, Record string
	// HolderFile exists while this server holds the VIP.
	HolderFile string
	// Project is the directory of compose.yaml, for Traefik's log.
	Project string
}

func (c Certificates) Name() string { return "certificate" }

func (c Certificates) Check(ctx context.Context) Result {
	stored, err := certificates.ReadFile(c.File)
	if err != nil {
		return failed(err)
	}
	awaited, err := c.awaited()
	if err != nil {
		return failed(err)
	}
	var found parts
	var waiting []string
	for _, name := range c.Names {
		leaf, err := c.served(ctx, name)
		if err != nil {
			found.fail(name + ": " + oneLine(err.Error()))
			continue
		}
		_, exists := stored.For(name)
		switch problem := judgeLeaf(stored, leaf, name); {
		case problem == "":
			found.pass(fmt.Sprintf("%s: until %s", name, leaf.NotAfter.UTC().Format(time.DateOnly)))
		case !exists && slices.Contains(awaited, name):
			waiting = append(waiting, name)
		case !exists:
			found.fail(name + ": has no certificate")
		default:
			found.fail(name + ": " + problem)
		}
	}
	switch {
	case len(found.problems) > 0:
		found.logs = []Log{serviceLog(c.Project, "traefik")}
	case len(waiting) == len(c.Names):
		found.pass(noneYet)
	case len(waiting) > 0:
		found.pass(strings.Join(waiting, ", ") + ": " + noneYet)
	}
	result := found.result()
	result.Detail = withAccounts(stored, result.Detail)
	return result
}

// withAccounts appends the URLs of the accounts at the authority: a CAA record may allow only one
// account, and an operator who writes such a record needs its URL.
func withAccounts(stored certificates.Storage, detail string) string {
	for _, account := range stored.Accounts() {
		detail += "; account " + oneLine(account)
	}
	return detail
}

// awaited returns the names that need no certificate yet.
func (c Certificates) awaited() ([]string, error) {
	_, err := os.Lstat(c.HolderFile)
	if err == nil {
		return nil, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot check whether this server holds the VIP: %w", err)
	}
	record, err := certificates.ReadRecord(c.Record)
	return record.Missing, err
}

// judgeLeaf returns the problem of a name's served certificate, or "".
func judgeLeaf(stored certificates.Storage, leaf *x509.Certificate, name string) string {
	switch {
	case !stored.Holds(leaf):
		return fmt.Sprintf("is served with a certificate that is not in acme.json (%s)",
			strings.Join(leaf.DNSNames, ", "))
	case leaf.VerifyHostname(name) != nil:
		return fmt.Sprintf("is served with the certificate of %s", strings.Join(leaf.DNSNames, ", "))
	case time.Until(leaf.NotAfter) < certificates.MinimumValidity:
		return fmt.Sprintf("its certificate expires at %s, and must be valid for %.0f hours",
			leaf.NotAfter.UTC().Format(time.RFC3339), certificates.MinimumValidity.Hours())
	default:
		return ""
	}
}

func (c Certificates) served(ctx context.Context, name string) (*x509.Certificate, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, web.HeaderTimeout, fmt.Errorf("no response within %s", web.HeaderTimeout))
	defer cancel()
	// The authority does not matter here: which ones are trusted depends on the client.
	dialer := tls.Dialer{Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
	connection, err := dialer.DialContext(ctx, "tcp", c.Address)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	defer connection.Close()
	// The dialer's connection is a *tls.Conn, and a server has at least one certificate.
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}
