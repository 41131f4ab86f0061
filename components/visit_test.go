package components

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// visited is a site that answers as server i-old with release r-old until its
// visitors have asked it so many times, and as i-new with r-new from then on.
// Its certificate is for example.com.
func visited(t *testing.T, asked int64) *httptest.Server {
	t.Helper()
	var requests atomic.Int64
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		state := "old"
		if requests.Add(1) > asked {
			state = "new"
		}
		switch r.URL.Path {
		case "/.well-known/server":
			fmt.Fprintf(w, `{"server":"i-%s"}`, state)
		case "/.well-known/release":
			fmt.Fprintf(w, `{"release": "r-%s"}`, state)
		default:
			http.NotFound(w, r)
		}
	}))
	// Clients that refuse its certificate are no news.
	site.Config.ErrorLog = nil
	t.Cleanup(site.Close)
	return site
}

// guest is how runVisit visits.
type guest struct {
	server, release, within string
	// name is the site's, and resolves is where this machine's resolver says
	// that it leads.
	name, resolves string
	certificate    string
	roots          string
}

func runVisit(t *testing.T, site *httptest.Server, g guest) (stdout, stderr string, err error) {
	t.Helper()
	address, err := url.Parse(site.URL)
	require.NoError(t, err)
	command := exec.CommandContext(t.Context(), "bash", "-c", visitScript)
	bin := t.TempDir()
	resolver := fmt.Sprintf("#!/bin/sh\nprintf '%%s STREAM %%s\\n' %q \"$2\"\n", g.resolves)
	require.NoError(t, os.WriteFile(filepath.Join(bin, "getent"), []byte(resolver), 0o755))
	command.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "NAME="+g.name, "ADDRESS="+address.Hostname(), "PORT="+address.Port(),
		"ROOTS="+g.roots, "CERTIFICATE="+g.certificate, "SERVER="+g.server, "RELEASE="+g.release, "WITHIN="+g.within)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	err = command.Run()
	return out.String(), errors.String(), err
}

// trusting is a file with the site's certificate.
func trusting(t *testing.T, site *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw}), 0o600))
	return file
}

func TestAVisitEndsWhenTheRightServerServesTheRightRelease(t *testing.T) {
	site := visited(t, 5)
	stdout, stderr, err := runVisit(t, site, guest{
		name: "example.com", resolves: "127.0.0.1", certificate: "valid", roots: trusting(t, site), server: "i-new", release: "r-new", within: "30",
	})
	require.NoError(t, err, stderr)
	require.Equal(t, "https://example.com/ is served at 127.0.0.1 by i-new with release r-new\n", stdout)
	require.Empty(t, stderr)
}

func TestAVisitInVainSaysWhatAnsweredInstead(t *testing.T) {
	site := visited(t, 1<<30)
	for name, expected := range map[string]struct{ server, release string }{
		"another server":                     {"i-new", "r-old"},
		"another release":                    {"i-old", "r-new"},
		"a server whose name only begins so": {"i-ol", "r-old"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, err := runVisit(t, site, guest{name: "example.com", certificate: "any", server: expected.server, release: expected.release, within: "0"})
			require.Error(t, err)
			require.Contains(t, stderr, fmt.Sprintf(`should name %s, and is: {"server":"i-old"}`, expected.server))
			require.Contains(t, stderr, fmt.Sprintf(`should name %s, and is: {"release": "r-old"}`, expected.release))
		})
	}
}

func TestACertificateOfAnotherAuthorityOrForAnotherNameIsRefused(t *testing.T) {
	site := visited(t, 0)
	visit := guest{name: "example.com", resolves: "127.0.0.1", certificate: "valid", server: "i-new", release: "r-new", within: "0"}
	_, stderr, err := runVisit(t, site, visit)
	require.Error(t, err)
	require.Regexp(t, `should name i-new, and is: curl: .*certificate`, stderr)

	visit.roots = trusting(t, site)
	visit.name = "example.org"
	_, stderr, err = runVisit(t, site, visit)
	require.Error(t, err)
	require.Regexp(t, `should name i-new, and is: curl: .*(certificate|subject name)`, stderr)
}

func TestWhereTheNameDoesNotLeadToTheSiteAWarningTakesTheCertificatesPlace(t *testing.T) {
	site := visited(t, 0)
	stdout, stderr, err := runVisit(t, site, guest{
		name: "example.org", resolves: "192.0.2.1", certificate: "valid", server: "i-new", release: "r-new", within: "0",
	})
	require.NoError(t, err, stderr)
	require.Contains(t, stdout, "is served at 127.0.0.1 by i-new")
	require.Contains(t, stderr, "example.org does not lead to 127.0.0.1 yet")
	require.Contains(t, stderr, "pulumi stack output dnsRecords")
}

func TestAVisitToASiteThatDoesNotAnswerSaysSo(t *testing.T) {
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	visit := guest{name: "example.com", certificate: "any", server: "i-new", release: "r-new", within: "0"}
	_, stderr, err := runVisit(t, closed, visit)
	require.Error(t, err)
	require.Contains(t, stderr, "404")
	closed.Close()
	visit.within = "1"
	_, stderr, err = runVisit(t, closed, visit)
	require.Error(t, err)
	require.Contains(t, stderr, "Failed to connect")
}
