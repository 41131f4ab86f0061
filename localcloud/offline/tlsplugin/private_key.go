package tlsplugin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// generate makes a new key and sets its forms, by the names of the outputs. The curve matters to
// ECDSA only, the bits to RSA only. The id is public: the SHA-1 of the public key, as the real plugin
// has it.
//
// The PEM forms and publicKeyOpenssh, a line of authorized_keys, end in a newline. privateKeyPem is
// PKCS #1 for RSA, SEC 1 for ECDSA, PKCS #8 for ED25519. The OpenSSH forms are empty for curve P224,
// which OpenSSH does not know.
func generate(forms map[string]string, algorithm, curve string, bits int) (id string, err error) {
	var key crypto.Signer
	kind, own := "PRIVATE KEY", []byte(nil)
	switch algorithm {
	case "RSA":
		made, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			return "", err
		}
		key, kind, own = made, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(made)
	case "ECDSA":
		chosen := map[string]elliptic.Curve{
			"P224": elliptic.P224(), "P256": elliptic.P256(), "P384": elliptic.P384(), "P521": elliptic.P521(),
		}[curve]
		if chosen == nil {
			return "", fmt.Errorf("unknown curve %q", curve)
		}
		made, err := ecdsa.GenerateKey(chosen, rand.Reader)
		if err != nil {
			return "", err
		}
		key, kind = made, "EC PRIVATE KEY"
		if own, err = x509.MarshalECPrivateKey(made); err != nil {
			return "", err
		}
	case "ED25519":
		if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("unknown algorithm %q", algorithm)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	if own == nil {
		own = pkcs8
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	forms["privateKeyPem"], forms["privateKeyPemPkcs8"] = block(kind, own), block("PRIVATE KEY", pkcs8)
	forms["publicKeyPem"] = block("PUBLIC KEY", publicDER)
	sum := sha1.Sum(publicDER)
	id = hex.EncodeToString(sum[:])
	if algorithm == "ECDSA" && curve == "P224" {
		return id, nil
	}
	openSSH, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return "", err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return "", err
	}
	forms["privateKeyOpenssh"] = string(pem.EncodeToMemory(openSSH))
	forms["publicKeyOpenssh"] = string(ssh.MarshalAuthorizedKey(public))
	forms["publicKeyFingerprintMd5"] = ssh.FingerprintLegacyMD5(public)
	forms["publicKeyFingerprintSha256"] = ssh.FingerprintSHA256(public)
	return id, nil
}
