package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	acmeManagementPort = 15000             // Pebble publishes its root certificates there
	acmeValidity       = 90 * 24 * 60 * 60 // certificate lifetime in seconds, as with Let's Encrypt
	acmeRetryAfter     = 1                 // Retry-After of authorizations and orders, in seconds

	maxRoots    = 16       // more than Pebble ever has
	maxRootSize = 64 << 10 // bytes, more than any root certificate takes
)

// StartACME starts the ACME server, which resolves names through the server of StartDNS, and waits until it responds.
// It then writes acme.pem: the local cloud's certificate authority, which issued the ACME server's certificate, and
// the ACME server's root certificates, which change with each start and are constrained to names of the zone.
func (l *Local) StartACME(ctx context.Context) (err error) {
	defer run.Wrap(&err, "ACME server")
	authority, err := l.authority()
	if err != nil {
		return err
	}
	config, err := pebbleConfig(pebbleSettings{
		listen:      netip.AddrPortFrom(acmeAddress(), httpsPort),
		management:  netip.AddrPortFrom(acmeAddress(), acmeManagementPort),
		certificate: Certificate(roleACME), key: CertificateKey(roleACME),
		httpPort: 80, tlsPort: httpsPort,
	})
	if err != nil {
		return err
	}
	configFile := filepath.Join(l.home.Cloud(), "pebble.json")
	if err := state.WriteFile(configFile, config, 0o600); err != nil {
		return err
	}
	if err := l.startService(ctx, service{
		role: roleACME, address: acmeAddress(), hosts: []string{acmeName},
		mounts: []string{filepath.Join(l.home.Bin(), "pebble") + ":/pebble:ro", configFile + ":/pebble.json:ro"},
		// Disable Pebble's random delays and rejected nonces, which exist to test clients.
		environment: []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0"},
		command:     []string{"/pebble", "-config", "/pebble.json", "-dnsserver", NameServer().String()},
		config:      string(config),
	}); err != nil {
		return err
	}
	trusted, err := os.ReadFile(authority.CertificateFile())
	if err != nil {
		return err
	}
	roots, err := awaitRoots(ctx, trusted, netip.AddrPortFrom(acmeAddress(), acmeManagementPort))
	if err != nil {
		return err
	}
	for _, root := range roots {
		// Constrain the roots: users import this file into their browsers, and Pebble's keys are unprotected.
		certified, err := authority.Certify(root, []string{ZoneName})
		if err != nil {
			return err
		}
		trusted = append(trusted, certified...)
	}
	return state.WriteFile(l.home.AuthorityFile(), trusted, 0o644)
}

// pebbleSettings are the settings that differ between Pebble servers.
type pebbleSettings struct {
	listen, management netip.AddrPort
	certificate, key   string // PEM files
	httpPort, tlsPort  int    // the ports to which challenges connect
}

func pebbleConfig(s pebbleSettings) ([]byte, error) {
	type object = map[string]any
	document, err := json.MarshalIndent(object{"pebble": object{
		"listenAddress":           s.listen,
		"managementListenAddress": s.management,
		"certificate":             s.certificate,
		"privateKey":              s.key,
		"httpPort":                s.httpPort,
		"tlsPort":                 s.tlsPort,
		"keyAlgorithm":            "ecdsa",
		"retryAfter":              object{"authz": acmeRetryAfter, "order": acmeRetryAfter},
		"profiles": object{
			"default": object{"description": "As Let's Encrypt's", "validityPeriod": acmeValidity},
		},
	}}, "", "  ")
	return append(document, '\n'), err
}

// awaitRoots polls Pebble's management interface for its root certificates until it responds, and returns them in
// DER. authority is the PEM certificate that the interface's own certificate validates against.
func awaitRoots(ctx context.Context, authority []byte, management netip.AddrPort) (roots [][]byte, err error) {
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(authority) {
		return nil, errors.New("localcloud's certificate authority is not a PEM certificate")
	}
	// No proxy: the server is on this machine.
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if err = run.Await(ctx, startTimeout, pollInterval, func(ctx context.Context) error {
		roots, err = fetchRoots(ctx, client, management)
		return err
	}); err != nil {
		return nil, fmt.Errorf("cannot fetch Pebble's root certificates: %w", err)
	}
	return roots, nil
}

// fetchRoots requests one root certificate after another until Pebble returns 404.
func fetchRoots(ctx context.Context, client *http.Client, management netip.AddrPort) ([][]byte, error) {
	var roots [][]byte
	for i := range maxRoots {
		address := fmt.Sprintf("https://%s/roots/%d", management, i)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(io.LimitReader(response.Body, maxRootSize))
		response.Body.Close()
		block, _ := pem.Decode(body)
		switch {
		case err != nil:
		case response.StatusCode == http.StatusNotFound && i > 0:
			return roots, nil
		case response.StatusCode != http.StatusOK:
			err = errors.New(response.Status)
		case block == nil:
			err = errors.New("response is not PEM")
		default:
			_, err = x509.ParseCertificate(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", address, err)
		}
		roots = append(roots, block.Bytes)
	}
	return nil, fmt.Errorf("more than %d root certificates", maxRoots)
}
