package readiness

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/certificates/certificatestest"
)

// fakeProxy is the site's proxy on a server, with a certificate for some names and a fallback for the others.
type fakeProxy struct {
	*testing.T
	check    Certificates
	served   map[string]certificatestest.Pair
	fallback certificatestest.Pair
}

// newFakeProxy returns the proxy of a server of example.org and www.example.org that restored no certificate and
// does not hold the VIP.
func newFakeProxy(t *testing.T) *fakeProxy {
	t.Helper()
	dir := t.TempDir()
	f := &fakeProxy{
		T:        t,
		served:   map[string]certificatestest.Pair{},
		fallback: certificatestest.New(t, time.Now().AddDate(1, 0, 0), "traefik.default"),
	}
	listener := httptest.NewUnstartedServer(http.NotFoundHandler())
	listener.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, exists := f.served[hello.ServerName]
		if !exists {
			pair = f.fallback
		}
		certificate := pair.TLS(t)
		return &certificate, nil
	}}
	listener.StartTLS()
	t.Cleanup(listener.Close)
	f.check = Certificates{
		Address: listener.Listener.Addr().String(),
		Names:   []string{"example.org", "www.example.org"},
		File:    filepath.Join(dir, "acme.json"), Record: filepath.Join(dir, "restored.json"),
		HolderFile: filepath.Join(dir, "holder"),
		Project:    "/opt/site",
	}
	f.record(`{"missing":["example.org","www.example.org"]}`)
	return f
}

// record writes the result of the restore.
func (f *fakeProxy) record(text string) {
	f.Helper()
	require.NoError(f, os.WriteFile(f.check.Record, []byte(text), 0o644))
}

// store writes acme.json, and makes the proxy serve its certificates.
func (f *fakeProxy) store(pairs ...certificatestest.Pair) {
	f.Helper()
	require.NoError(f, os.WriteFile(f.check.File, []byte(certificatestest.Storage(f.T, pairs...)), 0o600))
	for _, pair := range pairs {
		for _, name := range pair.Names {
			f.served[name] = pair
		}
	}
}

// hold moves the VIP to the server.
func (f *fakeProxy) hold() {
	f.Helper()
	require.NoError(f, os.WriteFile(f.check.HolderFile, nil, 0o644))
}

func (f *fakeProxy) run() Result {
	f.Helper()
	return f.check.Check(f.Context())
}

func TestEachNameIsServedWithItsCertificate(t *testing.T) {
	f := newFakeProxy(t)
	f.hold()
	end := time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC)
	f.store(certificatestest.New(t, end, "example.org"), certificatestest.New(t, end, "www.example.org"))
	require.Equal(t, Result{
		Verdict: Pass,
		Detail: "example.org: until 2038-01-19; www.example.org: until 2038-01-19; account " +
			"https://acme.example.org/account/1",
	}, f.run())
}

func TestFirstServerIsReadyWithoutCertificate(t *testing.T) {
	f := newFakeProxy(t)
	require.Equal(t, Result{Verdict: Pass, Detail: "none yet: requested when the VIP arrives"}, f.run())

	f.hold()
	result := f.run()
	require.Equal(t, Fail, result.Verdict, "with the VIP, a certificate is required")
	require.Equal(t, "example.org: has no certificate; www.example.org: has no certificate", result.Detail)
	require.Equal(t, []string{"traefik"}, logNames(result))

	f.store(certificatestest.New(t, time.Now().AddDate(0, 3, 0), "example.org"))
	result = f.run()
	require.Equal(t, Fail, result.Verdict)
	require.Equal(t, "www.example.org: has no certificate; account https://acme.example.org/account/1",
		result.Detail)
}

// An authority registers an account even if a CAA record forbids it to issue certificates to this account.
func TestAccountWithoutCertificateIsReported(t *testing.T) {
	f := newFakeProxy(t)
	f.store()
	require.Equal(t, Result{
		Verdict: Pass, Detail: "none yet: requested when the VIP arrives; account https://acme.example.org/account/1",
	}, f.run())
	f.hold()
	require.Equal(t,
		"example.org: has no certificate; www.example.org: has no certificate; account "+
			"https://acme.example.org/account/1", f.run().Detail)
}

func TestAccountIsPrintedWithoutControlCharacters(t *testing.T) {
	f := newFakeProxy(t)
	text := `{"acme": {"Account": {"Registration": {"uri": "https://acme.example.org/1\u001b[2J\nready"}}}, "broken": {"Account": 7}}`
	require.NoError(t, os.WriteFile(f.check.File, []byte(text), 0o600))
	require.Equal(t, "none yet: requested when the VIP arrives; account https://acme.example.org/1; ready",
		f.run().Detail)
}

func TestOnlyNewNameMayLackCertificateBeforeVIPArrives(t *testing.T) {
	f := newFakeProxy(t)
	f.record(`{"missing":["www.example.org"]}`)
	result := f.run()
	require.Equal(t, Fail, result.Verdict)
	require.Equal(t, "example.org: has no certificate", result.Detail, "a backup had this certificate")

	f.store(certificatestest.New(t, time.Date(2038, 1, 19, 3, 14, 7, 0, time.UTC), "example.org"))
	require.Equal(t, Result{
		Verdict: Pass,
		Detail: "example.org: until 2038-01-19; www.example.org: none yet: requested when the VIP arrives; account " +
			"https://acme.example.org/account/1",
	}, f.run())
}

func TestProblemsOfCertificatesAreReported(t *testing.T) {
	later := time.Now().AddDate(0, 3, 0)
	for name, test := range map[string]struct {
		prepare func(f *fakeProxy)
		detail  string
	}{
		"nothing was restored": {
			func(f *fakeProxy) { require.NoError(f, os.Remove(f.check.Record)) },
			`^example\.org: has no certificate; www\.example\.org: has no certificate$`,
		},
		"not loaded by Traefik": {
			func(f *fakeProxy) {
				f.store(certificatestest.New(t, later, "example.org", "www.example.org"))
				delete(f.served, "www.example.org")
			},
			`^www\.example\.org: is served with a certificate that is not in acme\.json \(traefik\.default\); account https://acme\.example\.org/account/1$`,
		},
		"old certificate served by Traefik": {
			func(f *fakeProxy) {
				f.store(certificatestest.New(t, later, "example.org", "www.example.org"))
				f.served["www.example.org"] = certificatestest.New(t, later, "www.example.org")
			},
			`^www\.example\.org: is served with a certificate that is not in acme\.json \(www\.example\.org\); account https://acme\.example\.org/account/1$`,
		},
		"certificate of another name": {
			func(f *fakeProxy) {
				f.store(certificatestest.New(t, later, "example.org"), certificatestest.New(t, later, "www.example.org"))
				f.served["www.example.org"] = f.served["example.org"]
			},
			`^www\.example\.org: is served with the certificate of example\.org; account https://acme\.example\.org/account/1$`,
		},
		"about to expire": {
			func(f *fakeProxy) {
				f.store(certificatestest.New(t, later, "example.org"),
					certificatestest.New(t, time.Now().Add(47*time.Hour), "www.example.org"))
			},
			`^www\.example\.org: its certificate expires at 20\S+Z, and must be valid for 48 hours; account https://acme\.example\.org/account/1$`,
		},
		"broken file": {
			func(f *fakeProxy) { require.NoError(f, os.WriteFile(f.check.File, []byte("{"), 0o600)) },
			`^cannot read the certificates: .*acme\.json: it is not in the format of Traefik: `,
		},
		"broken record": {
			func(f *fakeProxy) { f.record("{") },
			`^cannot read what was restored: .*restored\.json: `,
		},
		"nothing listens": {
			func(f *fakeProxy) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(f, err)
				f.check.Address = listener.Addr().String()
				require.NoError(f, listener.Close())
			},
			`^example\.org: dial tcp \S+: connect: connection refused; www\.example\.org: `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeProxy(t)
			test.prepare(f)
			result := f.run()
			require.Equal(t, Fail, result.Verdict)
			require.Regexp(t, test.detail, result.Detail)
		})
	}
}
