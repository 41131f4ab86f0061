package components

import (
	"crypto/ed25519"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// sshKey creates both halves of a key in OpenSSH's formats.
func sshKey(t *testing.T, seed byte) (private, public string) {
	t.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	half, err := ssh.NewPublicKey(key.Public())
	require.NoError(t, err)
	return string(pem.EncodeToMemory(block)), string(ssh.MarshalAuthorizedKey(half))
}

func TestAnSSHClientAcceptsTheHostCertificateForTheSitesNamesOnly(t *testing.T) {
	authority, authorityPublic := sshKey(t, 'a')
	_, host := sshKey(t, 'h')
	line, err := signHostCertificate(authority, host, []string{"example.org", "198.51.100.7"})
	require.NoError(t, err)

	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	require.NoError(t, err)
	certificate, ok := key.(*ssh.Certificate)
	require.True(t, ok)
	trusted, _, _, _, err := ssh.ParseAuthorizedKey([]byte(authorityPublic))
	require.NoError(t, err)
	checker := ssh.CertChecker{IsHostAuthority: func(authority ssh.PublicKey, _ string) bool {
		return string(authority.Marshal()) == string(trusted.Marshal())
	}}
	for _, name := range []string{"example.org:12222", "198.51.100.7:12222"} {
		require.NoError(t, checker.CheckHostKey(name, nil, certificate))
	}
	require.Error(t, checker.CheckHostKey("evil.example:12222", nil, certificate))
	require.Equal(t, ssh.KeyAlgoED25519, certificate.Key.Type())
}

func TestTheHostCertificateIsTheSameInEveryPlan(t *testing.T) {
	authority, _ := sshKey(t, 'a')
	_, host := sshKey(t, 'h')
	first, err := signHostCertificate(authority, host, []string{"example.org"})
	require.NoError(t, err)
	second, err := signHostCertificate(authority, host, []string{"example.org"})
	require.NoError(t, err)
	require.Equal(t, first, second)

	other, err := signHostCertificate(authority, host, []string{"example.net"})
	require.NoError(t, err)
	require.NotEqual(t, first, other)
}

func TestOneLineOfKnownHostsCoversEveryNameAndThePort(t *testing.T) {
	require.Equal(t, "@cert-authority [example.org]:12222,[198.51.100.7]:12222 ssh-ed25519 AAAA",
		knownHostsLine([]string{"example.org", "198.51.100.7"}, 12222, "ssh-ed25519 AAAA\n"))
	require.Equal(t, "@cert-authority example.org ssh-ed25519 AAAA",
		knownHostsLine([]string{"example.org"}, 22, "ssh-ed25519 AAAA"))
}
