package probe_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
	"immutable-infra/probe"
)

// TestMain sets proxies that do not respond: the probe must not use them.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"} {
		os.Setenv(name, "http://127.0.0.1:9")
	}
	os.Unsetenv("NO_PROXY")
	os.Unsetenv("no_proxy")
	os.Exit(m.Run())
}

// resolver returns its results one after the other, and then always the last one.
type resolver struct {
	results []any // addresses and errors
	lookups atomic.Int32
}

func (r *resolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n := min(int(r.lookups.Add(1)), len(r.results)) - 1
	if err, ok := r.results[n].(error); ok {
		return nil, err
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr(r.results[n].(string))}, nil
}

var (
	here      = "::ffff:127.0.0.1"
	elsewhere = "192.0.2.1"
	notFound  = &net.DNSError{Err: "no such host", Name: "example.com", IsNotFound: true}
	failing   = &net.DNSError{Err: "server misbehaving", Name: "example.com", IsTemporary: true}
)

func target(t *testing.T, site testsite.Site) probe.Target {
	t.Helper()
	content, err := os.ReadFile(site.Roots)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(content))
	return probe.Target{Name: "example.com", Address: site.Address, Roots: roots, Server: "i-new", Release: "r-new"}
}

func await(t *testing.T, target probe.Target, within time.Duration, results ...any) (log string, err error) {
	t.Helper()
	var lines []string
	err = target.Await(t.Context(), within, &resolver{results: results}, func(line string) { lines = append(lines, line) })
	return strings.Join(lines, "\n"), err
}

func TestProbeEndsWhenTheServerServesTheRelease(t *testing.T) {
	var requests atomic.Int32
	before, after := testsite.Serving("i-old", "r-old"), testsite.Serving("i-new", "r-new")
	site := testsite.Start(t, "example.com", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 5 {
			after.ServeHTTP(w, r)
			return
		}
		before.ServeHTTP(w, r)
	}))
	log, err := await(t, target(t, site), 20*time.Second, here)
	require.NoError(t, err)
	require.Contains(t, log, `after 0 s: /.well-known/server: expected i-new, got 200: {"server":"i-old"}; `)
	require.Equal(t, 1, strings.Count(log, "after "), "progress is not repeated")
	require.Greater(t, requests.Load(), int32(6))
}

func TestErrorHasTheActualResponse(t *testing.T) {
	for name, test := range map[string]struct {
		handler  http.Handler
		expected []string
		hint     bool
	}{
		"another server": {
			testsite.Serving("i-ne", "r-new"), []string{`/.well-known/server: expected i-new, got 200: {"server":"i-ne"}`},
			false,
		},
		"the previous release": {testsite.Serving("i-new", "r-old"),
			[]string{`/.well-known/release: expected r-new, got 200: {"release": "r-old"}`}, true},
		"another site": {http.NotFoundHandler(), []string{"got 404: 404 page not found"}, false},
		"a redirect": {http.RedirectHandler("https://parking.example/?for=example.com", http.StatusFound),
			[]string{"got 302 to https://parking.example/?for=example.com"}, false},
		"the right words in a page of HTML": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<p>\n\"server\" \"i-new\"\n\"release\" \"r-new\"" + strings.Repeat("x", 70_000)))
		}), []string{`got 200: <p> "server" "i-new" "release" "r-new"xxx`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			site := testsite.Start(t, "example.com", test.handler)
			_, err := await(t, target(t, site), 0, here)
			require.ErrorContains(t, err, "cannot verify https://example.com/ at 127.0.0.1 after 0 s:\n")
			for _, text := range test.expected {
				require.ErrorContains(t, err, text)
			}
			require.ErrorContains(t, err,
				"certificate: CN=certificate of example.com for example.com, issued by CN=certificate of example.com, valid until ")
			require.Equal(t, test.hint,
				strings.Contains(err.Error(),
					"release r-new is uploaded, but not served: on the server, see journalctl -u agent-pull.service"))
			require.Less(t, len(err.Error()), 2000)
		})
	}
}

// TestCertificateIsCheckedWhereTheNameResolvesHere: while the name resolves to the site, no response and no
// failure of the resolver may lead to a success without certificate verification.
func TestCertificateIsCheckedWhereTheNameResolvesHere(t *testing.T) {
	site := testsite.Start(t, "example.org", testsite.Serving("i-new", "r-new"))
	for name, test := range map[string]struct {
		results []any
		within  time.Duration
		err     string
	}{
		"for another name": {[]any{here}, 0, "certificate: CN=certificate of example.org for example.org"},
		"the resolver fails": {
			[]any{failing}, 0, "cannot resolve example.com: lookup example.com: server misbehaving",
		},
		"the resolver fails, then not": {
			[]any{failing, here}, time.Second, "x509: certificate is valid for example.org, not example.com",
		},
		"the resolver is out of reach": {
			[]any{errors.New("network is unreachable")}, 0, "cannot resolve example.com: network is unreachable",
		},
		"the resolver fails and ends":   {[]any{failing, notFound}, time.Second, ""},
		"the name resolves elsewhere":   {[]any{elsewhere}, 0, ""},
		"the name does not exist (yet)": {[]any{notFound}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := await(t, target(t, site), test.within, test.results...)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				require.NotContains(t, log, "not checked")
				return
			}
			require.NoError(t, err)
			require.Contains(t, log,
				"example.com does not resolve to 127.0.0.1 yet: its certificate is not checked. Create the DNS records; `pulumi "+
					"stack output dnsRecords`")
		})
	}
	t.Run("of an unknown authority", func(t *testing.T) {
		site := testsite.Start(t, "example.com", testsite.Serving("i-new", "r-new"))
		unknown := target(t, site)
		unknown.Roots = nil
		_, err := await(t, unknown, 0, here)
		require.ErrorContains(t, err, "x509: ")
		require.ErrorContains(t, err, "certificate: CN=certificate of example.com")
		unknown.AnyCertificate = true
		log, err := await(t, unknown, 0, failing)
		require.NoError(t, err)
		require.Empty(t, log)
	})
}

func TestProbeEndsInTime(t *testing.T) {
	t.Run("where nothing listens", func(t *testing.T) {
		site := testsite.Start(t, "example.com", http.NotFoundHandler())
		site.Close()
		began := time.Now()
		log, err := await(t, target(t, site), time.Second, here)
		require.ErrorContains(t, err, "connection refused")
		require.WithinRange(t, time.Now(), began.Add(time.Second), began.Add(3*time.Second))
		require.Equal(t, 1, strings.Count(log, "after "), log)
	})
	t.Run("where nothing responds", func(t *testing.T) {
		release := make(chan struct{})
		site := testsite.Start(t, "example.com", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		defer close(release)
		began := time.Now()
		_, err := await(t, target(t, site), 0, here)
		require.ErrorContains(t, err, "context deadline exceeded")
		require.Less(t, time.Since(began), 8*time.Second)
	})
	t.Run("when it is stopped", func(t *testing.T) {
		site := testsite.Start(t, "example.com", http.NotFoundHandler())
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		err := target(t, site).Await(ctx, time.Hour, &resolver{results: []any{here}}, func(string) {})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(began), 5*time.Second)
	})
}

// A server with too many visitors resets some of their connections: docs/server.md.
func TestVisitIsRetriedWhenItsConnectionIsReset(t *testing.T) {
	for name, test := range map[string]struct {
		resets  int32
		failure string
	}{
		"a few resets":       {resets: 3},
		"nothing but resets": {resets: 1 << 20, failure: "/: got "},
		"no reset":           {},
	} {
		t.Run(name, func(t *testing.T) {
			site := testsite.Start(t, "example.com", testsite.Serving("i-new", "r-new"))
			front, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			t.Cleanup(func() { front.Close() })
			var connections atomic.Int32
			go func() {
				for {
					visitor, err := front.Accept()
					if err != nil {
						return
					}
					if connections.Add(1) <= test.resets {
						_, _ = visitor.Read(make([]byte, 1)) // the rest of the greeting is lost
						visitor.Close()
						continue
					}
					server, err := net.Dial("tcp", site.Address.String())
					if err != nil {
						visitor.Close()
						return
					}
					go func() { _, _ = io.Copy(server, visitor) }()
					go func() { _, _ = io.Copy(visitor, server) }()
				}
			}()
			visited := target(t, site)
			visited.Address = netip.MustParseAddrPort(front.Addr().String())
			err = visited.Visit(t.Context(), &resolver{results: []any{here}})
			if test.failure == "" {
				require.NoError(t, err)
				require.Equal(t, test.resets+1, connections.Load(), "one connection for both requests")
				return
			}
			require.ErrorContains(t, err, test.failure)
			require.Greater(t, connections.Load(), int32(5))
		})
	}
}
