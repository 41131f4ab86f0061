// Package probe verifies from outside that the expected server serves a site, with the expected release and a valid
// certificate.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"immutable-infra/internal/lines"
)

const (
	// attemptTimeout bounds one attempt: the DNS lookup and both requests.
	attemptTimeout = 5 * time.Second
	// pause is the time between two attempts.
	pause = 200 * time.Millisecond
	// logPause is the minimum time between two progress messages.
	logPause = 5 * time.Second
	// maxBody is how many bytes of a response body are read, maxQuoted how many are quoted.
	maxBody, maxQuoted = 4096, 200
	httpsPort          = 443
)

// Resolver looks up the addresses of a name. net.DefaultResolver implements it.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Target is a site at one address, and the server and release to expect there.
type Target struct {
	// Name is the site's domain name.
	Name string
	// Address is the IPv4 address and port to probe, whatever Name resolves to.
	Address netip.AddrPort
	// Roots are the trusted authorities. Default: this machine's.
	Roots *x509.CertPool
	// AnyCertificate skips certificate verification.
	AnyCertificate bool
	// Server is the id of the server, Release the name of the release.
	Server, Release string
}

// FromEnvironment reads a target from the variables NAME, ADDRESS and ROOTS: the site's domain name, an IPv4 address,
// of which port 443 is probed, and optionally a PEM file of trusted authorities. The error names each invalid
// variable.
func FromEnvironment(variable func(string) string) (Target, error) {
	var problems []error
	target := Target{Name: variable("NAME")}
	if target.Name == "" {
		problems = append(problems, errors.New("NAME is not set"))
	}
	address, err := netip.ParseAddr(variable("ADDRESS"))
	if err != nil || !address.Is4() {
		problems = append(problems, fmt.Errorf("ADDRESS is %q: expected an IPv4 address", variable("ADDRESS")))
	}
	target.Address = netip.AddrPortFrom(address, httpsPort)
	if file := variable("ROOTS"); file != "" {
		if target.Roots, err = Roots(file); err != nil {
			problems = append(problems, fmt.Errorf("cannot read ROOTS: %w", err))
		}
	}
	return target, errors.Join(problems...)
}

// Await probes the site until it is served as expected. After within, it returns an error with the actual responses;
// the last attempt may exceed within by 5 s.
//
// The certificate is not verified while the name does not exist or resolves only to other addresses: no authority
// would issue a certificate, and no visitor reaches the site by its name. If a lookup fails in another way, it is
// retried; if it keeps failing, Await returns an error.
//
// log receives a line for each unexpected response, at most every 5 s.
func (t Target) Await(ctx context.Context, within time.Duration, resolver Resolver, log func(line string)) error {
	began := time.Now()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var logged string
	var loggedAt time.Time
	warned := false
	for {
		result := t.attempt(ctx, resolver)
		if ctx.Err() != nil {
			return fmt.Errorf("stopped probing %s: %w", t.url(), context.Cause(ctx))
		}
		if result.elsewhere && !warned {
			warned = true
			log(fmt.Sprintf("%s does not resolve to %s yet: its certificate is not checked. Create the DNS records; "+
				"`pulumi stack output dnsRecords` lists them where no zone is configured", t.Name, t.Address.Addr()))
		}
		problems := t.problems(result)
		if len(problems) == 0 {
			return nil
		}
		took := time.Since(began)
		if took >= within {
			return fmt.Errorf("cannot verify %s at %s after %.0f s:\n%s", t.url(), t.Address.Addr(), took.Seconds(),
				strings.Join(problems, "\n"))
		}
		if summary := strings.Join(problems, "; "); summary != logged && time.Since(loggedAt) >= logPause {
			logged, loggedAt = summary, time.Now()
			log(fmt.Sprintf("after %.0f s: %s", took.Seconds(), summary))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

func (t Target) url() string { return "https://" + t.Name + "/" }

// result is the result of one attempt.
type result struct {
	// lookup is the error of the DNS lookup. If it is set, no request was sent.
	lookup error
	// elsewhere is true if the name does not resolve to the address.
	elsewhere       bool
	server, release response
	certificate     *x509.Certificate
}

// response is the response to one request.
type response struct {
	// err is set if there was no response.
	err      error
	status   int
	location string
	body     string
	// value is the string that the body contains for the requested key, or "".
	value string
}

// attempt looks up the name and probes the site once, on a new connection.
func (t Target) attempt(ctx context.Context, resolver Resolver) result {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	client, elsewhere, err := t.client(ctx, resolver)
	if err != nil {
		return result{lookup: err}
	}
	defer client.CloseIdleConnections()
	r := result{elsewhere: elsewhere}
	for _, request := range []struct {
		key      string
		response *response
	}{{"server", &r.server}, {"release", &r.release}} {
		var certificate *x509.Certificate
		*request.response, certificate = t.get(ctx, client, ".well-known/"+request.key, request.key)
		if certificate != nil {
			r.certificate = certificate
		}
	}
	return r
}

// Visit requests the front page and the id of the server once, on a new connection. It fails if another server
// responds, or if the response is a server error. If the connection is reset, it retries, because a server with too
// many visitors resets some connections. The certificate is verified as in Await. Visit takes at most 5 s.
func (t Target) Visit(ctx context.Context, resolver Resolver) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	client, _, err := t.client(ctx, resolver)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	front, _ := t.get(ctx, client, "", "")
	for errors.Is(front.err, syscall.ECONNRESET) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			front, _ = t.get(ctx, client, "", "")
		}
	}
	if front.err != nil || front.status >= http.StatusInternalServerError {
		return fmt.Errorf("/: got %s", front)
	}
	if actual, _ := t.get(ctx, client, ".well-known/server", "server"); !actual.names(t.Server) {
		return fmt.Errorf("/.well-known/server: expected %s, got %s", t.Server, actual)
	}
	return nil
}

// client returns a client that connects to the address, and whether the name resolves only to other addresses.
func (t Target) client(ctx context.Context, resolver Resolver) (client *http.Client, elsewhere bool, err error) {
	if !t.AnyCertificate {
		here, err := t.resolvesHere(ctx, resolver)
		if err != nil {
			return nil, false, err
		}
		elsewhere = !here
	}
	return &http.Client{
		Transport: &http.Transport{
			// Ignore proxies in the environment: they would connect to another address.
			Proxy: nil,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", t.Address.String())
			},
			TLSClientConfig:   &tls.Config{RootCAs: t.Roots, InsecureSkipVerify: t.AnyCertificate || elsewhere},
			ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, elsewhere, nil
}

// resolvesHere reports whether the name resolves to the address.
func (t Target) resolvesHere(ctx context.Context, resolver Resolver) (bool, error) {
	addresses, err := resolver.LookupNetIP(ctx, "ip4", t.Name)
	var notFound *net.DNSError
	if errors.As(err, &notFound) && notFound.IsNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot resolve %s: %w", t.Name, err)
	}
	for _, address := range addresses {
		if address.Unmap() == t.Address.Addr().Unmap() {
			return true, nil
		}
	}
	return false, nil
}

// get requests a path. It returns the response, with the value of the string key if the body is JSON, and the server's
// certificate, if any.
func (t Target) get(ctx context.Context, client *http.Client, path, key string) (response, *x509.Certificate) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url()+path, nil)
	if err != nil {
		return response{err: err}, nil
	}
	got, err := client.Do(request)
	if err != nil {
		// The report already has the URL and the address, and the local port would differ each time.
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err
		}
		var operation *net.OpError
		if errors.As(err, &operation) {
			err = fmt.Errorf("%s: %w", operation.Op, operation.Err)
		}
		var unverified *tls.CertificateVerificationError
		if errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0 {
			return response{err: err}, unverified.UnverifiedCertificates[0]
		}
		return response{err: err}, nil
	}
	defer got.Body.Close()
	var certificate *x509.Certificate
	if got.TLS != nil && len(got.TLS.PeerCertificates) > 0 {
		certificate = got.TLS.PeerCertificates[0]
	}
	body, err := io.ReadAll(io.LimitReader(got.Body, maxBody))
	if err != nil {
		return response{err: err}, certificate
	}
	r := response{status: got.StatusCode, location: got.Header.Get("Location"), body: string(body)}
	var fields map[string]any
	if json.Unmarshal(body, &fields) == nil {
		r.value, _ = fields[key].(string)
	}
	return r, certificate
}

// problems describes each unexpected response in one line.
func (t Target) problems(r result) []string {
	if r.lookup != nil {
		return []string{r.lookup.Error()}
	}
	var found []string
	for _, request := range []struct {
		key, expected string
		actual        response
	}{{"server", t.Server, r.server}, {"release", t.Release, r.release}} {
		if request.actual.names(request.expected) {
			continue
		}
		found = append(found,
			fmt.Sprintf("/.well-known/%s: expected %s, got %s", request.key, request.expected, request.actual))
	}
	if len(found) == 0 {
		return nil
	}
	if r.certificate != nil {
		found = append(found, "certificate: "+describe(r.certificate))
	}
	if r.server.names(t.Server) && r.release.err == nil {
		found = append(found,
			fmt.Sprintf("release %s is uploaded, but not served: on the server, see journalctl -u agent-pull.service",
				t.Release))
	}
	return found
}

// names reports whether the response is successful and contains the value.
func (r response) names(value string) bool {
	return r.err == nil && r.status == http.StatusOK && r.value == value
}

func (r response) String() string {
	switch {
	case r.err != nil:
		return clean(r.err.Error())
	case r.location != "":
		return fmt.Sprintf("%d to %s", r.status, clean(r.location))
	default:
		return fmt.Sprintf("%d: %s", r.status, clean(r.body))
	}
}

// clean shortens untrusted text to one printable line.
func clean(text string) string {
	return lines.Printable(strings.Join(strings.Fields(text), " "), maxQuoted)
}

func describe(c *x509.Certificate) string {
	return clean(fmt.Sprintf("%s for %s, issued by %s, valid until %s",
		c.Subject, strings.Join(c.DNSNames, ", "), c.Issuer, c.NotAfter.UTC().Format("2006-01-02 15:04 MST")))
}

// Roots reads the certificates of authorities from a PEM file.
func Roots(file string) (*x509.CertPool, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s has no PEM certificate", file)
	}
	return pool, nil
}
