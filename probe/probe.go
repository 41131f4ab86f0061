// Package probe verifies from outside that the right server serves a site, with the right release and a valid
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
	// attemptTimeout bounds one attempt: the lookup of the name and both requests.
	attemptTimeout = 5 * time.Second
	// pause is the time between two attempts.
	pause = 200 * time.Millisecond
	// logPause is the minimum time between two lines of progress.
	logPause = 5 * time.Second
	// maxBody is how many bytes of a response are read, maxQuoted how many are quoted.
	maxBody, maxQuoted = 4096, 200
	httpsPort          = 443
)

// Resolver looks up the addresses of a name. net.DefaultResolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Target is a site at one address, and the server and release to expect there.
type Target struct {
	// Name is the site's name.
	Name string
	// Address is the IPv4 address and port to probe, whatever Name resolves to.
	Address netip.AddrPort
	// Roots are the trusted authorities. Default: those of this machine.
	Roots *x509.CertPool
	// AnyCertificate skips the verification of the certificate.
	AnyCertificate bool
	// Server is the id of the server, Release the name of the release.
	Server, Release string
}

// FromEnvironment reads a target from the variables NAME, ADDRESS and ROOTS: the site's name, an IPv4 address, whose
// port 443 is probed, and optionally a PEM file of the trusted authorities. The error names each invalid variable.
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

// Await probes the site until it is served as expected. After within it returns an error with the actual responses; the
// last attempt may overrun within by 5 s.
//
// The certificate is not verified while the name does not exist or resolves to other addresses only: no authority
// issues one then, and no visitor comes by the name. A lookup that fails in another way is retried and, in the end, an
// error.
//
// log gets a line of text for each unexpected response, every 5 s at most.
func (t Target) Await(ctx context.Context, within time.Duration, resolver Resolver, log func(line string)) error {
	began := time.Now()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var logged string
	var loggedAt time.Time
	warned := false
	for {
		seen := t.attempt(ctx, resolver)
		if ctx.Err() != nil {
			return fmt.Errorf("stopped probing %s: %w", t.url(), context.Cause(ctx))
		}
		if seen.elsewhere && !warned {
			warned = true
			log(fmt.Sprintf("%s does not resolve to %s yet: its certificate is not checked. Create the DNS records; "+
				"`pulumi stack output dnsRecords` lists them where no zone is configured", t.Name, t.Address.Addr()))
		}
		problems := t.problems(seen)
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

// seen is the result of one attempt.
type seen struct {
	// lookup is the error of the lookup of the name; no request was sent then.
	lookup error
	// elsewhere reports that the name does not resolve to the address.
	elsewhere       bool
	server, release answer
	certificate     *x509.Certificate
}

// answer is the response to one request.
type answer struct {
	// err is set if there was no response.
	err      error
	status   int
	location string
	body     string
	// value is the string that the body names, "" if it names none.
	value string
}

// attempt looks up the name and probes the site once, on a connection of its own.
func (t Target) attempt(ctx context.Context, resolver Resolver) seen {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	client, elsewhere, err := t.client(ctx, resolver)
	if err != nil {
		return seen{lookup: err}
	}
	defer client.CloseIdleConnections()
	s := seen{elsewhere: elsewhere}
	for _, question := range []struct {
		key    string
		answer *answer
	}{{"server", &s.server}, {"release", &s.release}} {
		var certificate *x509.Certificate
		*question.answer, certificate = t.ask(ctx, client, ".well-known/"+question.key, question.key)
		if certificate != nil {
			s.certificate = certificate
		}
	}
	return s
}

// Visit requests the front page and the id of the server once, on a connection of its own. It fails if another server
// responds, or that one with an error of its own. A connection that is reset is tried again, because a server with too
// many visitors resets some. The certificate is verified as in Await. It takes 5 s at most.
func (t Target) Visit(ctx context.Context, resolver Resolver) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	client, _, err := t.client(ctx, resolver)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	front, _ := t.ask(ctx, client, "", "")
	for errors.Is(front.err, syscall.ECONNRESET) && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			front, _ = t.ask(ctx, client, "", "")
		}
	}
	if front.err != nil || front.status >= http.StatusInternalServerError {
		return fmt.Errorf("/: got %s", front)
	}
	if named, _ := t.ask(ctx, client, ".well-known/server", "server"); !named.names(t.Server) {
		return fmt.Errorf("/.well-known/server: expected %s, got %s", t.Server, named)
	}
	return nil
}

// client returns a client that connects to the address, and whether the name resolves to others only.
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
			// No proxy of the environment: it would probe another address.
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

// ask requests a path, whose body may be JSON with a string of that key. It returns the server's certificate, if any.
func (t Target) ask(ctx context.Context, client *http.Client, path, key string) (answer, *x509.Certificate) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url()+path, nil)
	if err != nil {
		return answer{err: err}, nil
	}
	response, err := client.Do(request)
	if err != nil {
		// The report has the URL and the address; the local port would differ each time.
		var request *url.Error
		if errors.As(err, &request) {
			err = request.Err
		}
		var operation *net.OpError
		if errors.As(err, &operation) {
			err = fmt.Errorf("%s: %w", operation.Op, operation.Err)
		}
		var refused *tls.CertificateVerificationError
		if errors.As(err, &refused) && len(refused.UnverifiedCertificates) > 0 {
			return answer{err: err}, refused.UnverifiedCertificates[0]
		}
		return answer{err: err}, nil
	}
	defer response.Body.Close()
	var certificate *x509.Certificate
	if response.TLS != nil && len(response.TLS.PeerCertificates) > 0 {
		certificate = response.TLS.PeerCertificates[0]
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return answer{err: err}, certificate
	}
	a := answer{status: response.StatusCode, location: response.Header.Get("Location"), body: string(body)}
	var fields map[string]any
	if json.Unmarshal(body, &fields) == nil {
		a.value, _ = fields[key].(string)
	}
	return a, certificate
}

// problems describes each unexpected response in a line.
func (t Target) problems(s seen) []string {
	if s.lookup != nil {
		return []string{s.lookup.Error()}
	}
	var found []string
	for _, question := range []struct {
		key, expected string
		answer        answer
	}{{"server", t.Server, s.server}, {"release", t.Release, s.release}} {
		if question.answer.names(question.expected) {
			continue
		}
		found = append(found,
			fmt.Sprintf("/.well-known/%s: expected %s, got %s", question.key, question.expected, question.answer))
	}
	if len(found) == 0 {
		return nil
	}
	if s.certificate != nil {
		found = append(found, "certificate: "+describe(s.certificate))
	}
	if s.server.names(t.Server) && s.release.err == nil {
		found = append(found,
			fmt.Sprintf("release %s is uploaded, but not served: on the server, see journalctl -u agent-pull.service",
				t.Release))
	}
	return found
}

// names reports whether a successful response names the value.
func (a answer) names(value string) bool {
	return a.err == nil && a.status == http.StatusOK && a.value == value
}

func (a answer) String() string {
	switch {
	case a.err != nil:
		return clean(a.err.Error())
	case a.location != "":
		return fmt.Sprintf("%d to %s", a.status, clean(a.location))
	default:
		return fmt.Sprintf("%d: %s", a.status, clean(a.body))
	}
}

// clean shortens foreign text to one line.
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
