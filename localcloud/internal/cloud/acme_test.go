package cloud

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme"

	"immutable-infra/internal/testtool"
	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/pki"
	"immutable-infra/localcloud/internal/state"
)

// loopbackAuthority returns an authority for servers on loopback addresses, its PEM certificate, and the files of a
// certificate and key that it issued for Pebble.
func loopbackAuthority(t *testing.T) (authority *pki.Authority, own []byte, certificate, key string) {
	t.Helper()
	_, loopback, err := net.ParseCIDR("127.0.0.0/8")
	require.NoError(t, err)
	authority, err = pki.Open(t.TempDir(), []string{ZoneName}, loopback)
	require.NoError(t, err)
	certificate, key, err = authority.Issue("pebble", []string{acmeName}, []net.IP{net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	own, err = os.ReadFile(authority.CertificateFile())
	require.NoError(t, err)
	return authority, own, certificate, key
}

// managementServer imitates Pebble's management interface with the given root certificates. It returns its address
// and the certificate of the authority that issued the server's certificate.
func managementServer(t *testing.T, roots ...[]byte) (netip.AddrPort, []byte) {
	t.Helper()
	_, own, certificate, key := loopbackAuthority(t)
	pair, err := tls.LoadX509KeyPair(certificate, key)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i, root := range roots {
			if r.URL.Path == fmt.Sprintf("/roots/%d", i) {
				_, _ = w.Write(root)
				return
			}
		}
		http.NotFound(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return netip.MustParseAddrPort(server.Listener.Addr().String()), own
}

func TestAllACMEServerRootsAreReturned(t *testing.T) {
	_, first, _, _ := loopbackAuthority(t)
	_, second, _, _ := loopbackAuthority(t)
	address, own := managementServer(t, first, bytes.TrimSpace(second))
	roots, err := awaitRoots(t.Context(), own, address)
	require.NoError(t, err)
	require.Len(t, roots, 2)
	for i, want := range [][]byte{first, second} {
		block, _ := pem.Decode(want)
		require.Equal(t, block.Bytes, roots[i])
	}
}

func TestInvalidRootCertificateIsRejected(t *testing.T) {
	for want, root := range map[string][]byte{
		"response is not PEM": []byte("<html>"),
		"x509: ":              pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
	} {
		address, own := managementServer(t, root)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := awaitRoots(ctx, own, address)
		require.ErrorContains(t, err, "cannot fetch Pebble's root certificates: https://")
		require.ErrorContains(t, err, want)
	}
}

// TestACMEServerIssuesCertificateForRecord runs the real Pebble with localcloud's configuration, name server and
// certificate authority, and obtains a certificate from it by HTTP-01.
func TestACMEServerIssuesCertificateForRecord(t *testing.T) {
	binary := testtool.Named(t, "LOCALCLOUD_PEBBLE")
	authority, own, certificate, key := loopbackAuthority(t)

	site := "site." + ZoneName
	challenges := http.NewServeMux()
	web := httptest.NewServer(challenges)
	defer web.Close()
	webURL, err := url.Parse(web.URL)
	require.NoError(t, err)
	webAddress := netip.MustParseAddrPort(webURL.Host)
	resolver := startDNS(t, dns.Record{Name: site, Type: "A", TTL: 60, Values: []string{"127.0.0.1"}})

	listen, management := freePort(t), freePort(t)
	config, err := pebbleConfig(pebbleSettings{
		listen: listen, management: management, certificate: certificate, key: key, httpPort: int(webAddress.Port()),
		tlsPort: 1,
	})
	require.NoError(t, err)
	startPebble(t, binary, config, resolver)
	roots, err := awaitRoots(t.Context(), own, management)
	require.NoError(t, err)

	trusted := x509.NewCertPool()
	require.True(t, trusted.AppendCertsFromPEM(own))
	accountKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	client := &acme.Client{
		Key: accountKey, DirectoryURL: "https://" + listen.String() + "/dir",
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = client.Register(ctx, &acme.Account{Contact: []string{"mailto:admin@example.org"}}, acme.AcceptTOS)
	require.NoError(t, err)
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(site))
	require.NoError(t, err)
	for _, address := range order.AuthzURLs {
		authorization, err := client.GetAuthorization(ctx, address)
		require.NoError(t, err)
		for _, challenge := range authorization.Challenges {
			if challenge.Type != "http-01" {
				continue
			}
			response, err := client.HTTP01ChallengeResponse(challenge.Token)
			require.NoError(t, err)
			challenges.HandleFunc(client.HTTP01ChallengePath(challenge.Token), func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(response))
			})
			_, err = client.Accept(ctx, challenge)
			require.NoError(t, err)
		}
		_, err = client.WaitAuthorization(ctx, address)
		require.NoError(t, err)
	}
	leafKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{site}}, leafKey)
	require.NoError(t, err)
	// The client fails after the request, because Pebble's response lacks the order's URL.
	_, _, _ = client.CreateOrderCert(ctx, order.FinalizeURL, request, true)
	order, err = client.WaitOrder(ctx, order.URI)
	require.NoError(t, err)
	chain, err := client.FetchCert(ctx, order.CertURL, true)
	require.NoError(t, err)

	leaf, err := x509.ParseCertificate(chain[0])
	require.NoError(t, err)
	issuers, bundle := x509.NewCertPool(), x509.NewCertPool()
	for _, der := range chain[1:] {
		issuer, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		issuers.AddCert(issuer)
	}
	require.Len(t, roots, 1)
	certified, err := authority.Certify(roots[0], []string{ZoneName})
	require.NoError(t, err)
	require.True(t, bundle.AppendCertsFromPEM(append(own, certified...)))
	_, err = leaf.Verify(x509.VerifyOptions{Roots: bundle, Intermediates: issuers, DNSName: site})
	require.NoError(t, err)
	require.InDelta(t, 90*24, leaf.NotAfter.Sub(leaf.NotBefore).Hours(), 1)
}

// startDNS serves records and returns the name server's address.
func startDNS(t *testing.T, records ...dns.Record) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), ZoneFile)
	require.NoError(t, state.WriteJSON(file, hostedZone(records)))
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	packets, err := net.ListenPacket("udp", stream.Addr().String())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- dns.Serve(ctx, dns.NewHandler(file), stream, packets) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return stream.Addr().String()
}

func startPebble(t *testing.T, binary string, config []byte, resolver string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pebble.json")
	require.NoError(t, os.WriteFile(file, config, 0o600))
	command := exec.Command(binary, "-config", file, "-dnsserver", resolver)
	command.Env = []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0"}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		require.NoError(t, command.Process.Kill())
		_ = command.Wait() // The only error expected here is the one from Kill.
		if t.Failed() {
			t.Log(output.String())
		}
	})
}

// freePort returns a loopback address on which no process listens.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return netip.MustParseAddrPort(listener.Addr().String())
}
