package components

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-tls/sdk/v5/go/tls"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"golang.org/x/crypto/ssh"
)

// SshCAArgs are the arguments of an SshCA.
type SshCAArgs struct {
	// Names are the host names of the servers.
	Names []string `pulumi:"names"`
	// Address is the VIP, which the certificate covers as well.
	Address pulumi.StringInput `pulumi:"address"`
	// Port is the port of the servers' SSH daemon.
	Port int `pulumi:"port"`
	// Protect prevents the deletion of the keys. Default: true.
	Protect *bool `pulumi:"protect"`
}

// SshCA is the SSH certificate authority, with the host key and host certificate of every server. All servers of a
// stack share them, so a client that trusts one server also trusts the next, with a single line in its known_hosts.
type SshCA struct {
	pulumi.ResourceState

	// HostPrivateKey is the servers' host key in OpenSSH's format. It is secret.
	HostPrivateKey pulumi.StringOutput `pulumi:"hostPrivateKey"`
	// HostPublicKey is the public host key, as one authorized_keys line.
	HostPublicKey pulumi.StringOutput `pulumi:"hostPublicKey"`
	// HostCertificate is the OpenSSH host certificate, as one line.
	HostCertificate pulumi.StringOutput `pulumi:"hostCertificate"`
	// KnownHosts is the @cert-authority line for a client's known_hosts.
	KnownHosts pulumi.StringOutput `pulumi:"knownHosts"`
}

// NewSshCA creates an SshCA.
func NewSshCA(ctx *pulumi.Context, name string, args *SshCAArgs, opts ...pulumi.ResourceOption) (*SshCA, error) {
	if args == nil {
		return nil, fmt.Errorf("SSH CA %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{
		"Names": len(args.Names) > 0, "Address": args.Address != nil, "Port": args.Port > 0,
	}); err != nil {
		return nil, fmt.Errorf("SSH CA %s: %w", name, err)
	}
	protect := pulumi.Protect(args.Protect == nil || *args.Protect)

	ca := &SshCA{}
	if err := ctx.RegisterComponentResource(token("SshCA"), name, ca, opts...); err != nil {
		return nil, err
	}
	authority, err := tls.NewPrivateKey(ctx, name, &tls.PrivateKeyArgs{
		Algorithm: pulumi.String("ED25519"),
	}, pulumi.Parent(ca), protect)
	if err != nil {
		return nil, err
	}
	host, err := tls.NewPrivateKey(ctx, name+"-host", &tls.PrivateKeyArgs{
		Algorithm: pulumi.String("ED25519"),
	}, pulumi.Parent(ca), protect)
	if err != nil {
		return nil, err
	}

	certificate := pulumi.All(authority.PrivateKeyOpenssh, host.PublicKeyOpenssh, args.Address).ApplyT(
		func(values []any) (string, error) {
			hosts := append(slices.Clone(args.Names), values[2].(string))
			return signHostCertificate(values[0].(string), values[1].(string), hosts)
		}).(pulumi.StringOutput)

	ca.HostPrivateKey = pulumi.ToSecret(host.PrivateKeyOpenssh).(pulumi.StringOutput)
	ca.HostPublicKey = host.PublicKeyOpenssh.ApplyT(strings.TrimSpace).(pulumi.StringOutput)
	// Computed from a secret key, but public: every client gets it.
	ca.HostCertificate = pulumi.Unsecret(certificate).(pulumi.StringOutput)
	ca.KnownHosts = pulumi.All(authority.PublicKeyOpenssh, args.Address).ApplyT(func(values []any) string {
		return knownHostsLine(append(slices.Clone(args.Names), values[1].(string)), args.Port, values[0].(string))
	}).(pulumi.StringOutput)

	return ca, ctx.RegisterResourceOutputs(ca, pulumi.Map{
		"hostPrivateKey":  ca.HostPrivateKey,
		"hostPublicKey":   ca.HostPublicKey,
		"hostCertificate": ca.HostCertificate,
		"knownHosts":      ca.KnownHosts,
	})
}

// signHostCertificate signs an OpenSSH host certificate (PROTOCOL.certkeys). It is deterministic, so that previews show
// no spurious changes. The certificate does not expire: to revoke it, replace the host key.
func signHostCertificate(authority, hostKey string, names []string) (string, error) {
	signer, err := ssh.ParsePrivateKey([]byte(authority))
	if err != nil {
		return "", fmt.Errorf("cannot parse the CA's private key: %w", err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return "", fmt.Errorf("cannot parse the host key: %w", err)
	}
	seed := sha256.Sum256(bytes.Join([][]byte{
		signer.PublicKey().Marshal(), key.Marshal(), []byte(strings.Join(names, "\x00")),
	}, []byte{0}))
	certificate := &ssh.Certificate{
		Key:             key,
		Serial:          binary.BigEndian.Uint64(seed[:8]),
		CertType:        ssh.HostCert,
		KeyId:           names[0],
		ValidPrincipals: names,
		ValidBefore:     ssh.CertTimeInfinity,
	}
	// The nonce only has to differ between certificates, so it is derived from their contents. Ed25519 signatures are
	// deterministic.
	if err := certificate.SignCert(nonce(seed), signer); err != nil {
		return "", fmt.Errorf("cannot sign the host certificate: %w", err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(certificate))), nil
}

// nonce returns a reader of the bytes of a certificate's nonce.
func nonce(seed [sha256.Size]byte) *bytes.Reader {
	sum := sha256.Sum256(append([]byte("nonce"), seed[:]...))
	return bytes.NewReader(sum[:])
}

// knownHostsLine returns the line that makes a client trust the CA for these hosts only: see sshd(8), SSH_KNOWN_HOSTS
// FILE FORMAT.
func knownHostsLine(hosts []string, port int, authority string) string {
	patterns := make([]string, len(hosts))
	for i, host := range hosts {
		patterns[i] = host
		if port != 22 {
			patterns[i] = fmt.Sprintf("[%s]:%d", host, port)
		}
	}
	return fmt.Sprintf("@cert-authority %s %s", strings.Join(patterns, ","), strings.TrimSpace(authority))
}
