package tlsplugin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"golang.org/x/crypto/ssh"
)

func algorithms() []string { return []string{"RSA", "ECDSA", "ED25519"} }

func curves() []string { return []string{"P224", "P256", "P384", "P521"} }

// generate makes a new key of one of algorithms(); curve matters to ECDSA
// only, bits to RSA only.
func generate(algorithm, curve string, bits int) (crypto.Signer, error) {
	switch algorithm {
	case "RSA":
		return rsa.GenerateKey(rand.Reader, bits)
	case "ECDSA":
		curve, err := curveNamed(curve)
		if err != nil {
			return nil, err
		}
		return ecdsa.GenerateKey(curve, rand.Reader)
	case "ED25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return nil, fmt.Errorf("unknown algorithm %q", algorithm)
	}
}

func curveNamed(name string) (elliptic.Curve, error) {
	switch name {
	case "P224":
		return elliptic.P224(), nil
	case "P256":
		return elliptic.P256(), nil
	case "P384":
		return elliptic.P384(), nil
	case "P521":
		return elliptic.P521(), nil
	default:
		return nil, fmt.Errorf("unknown curve %q", name)
	}
}

// encodedKey is one key pair in every form the resource outputs. The PEM forms
// and publicOpenSSH end in a newline.
type encodedKey struct {
	privatePEM        string // PKCS #1 for RSA, SEC 1 for ECDSA, PKCS #8 for ED25519
	privatePKCS8      string
	privateOpenSSH    string
	publicPEM         string
	publicDER         []byte
	publicOpenSSH     string // one line of authorized_keys
	fingerprintMD5    string
	fingerprintSHA256 string
}

func encode(key crypto.Signer) (encodedKey, error) {
	var encoded encodedKey

	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return encodedKey{}, fmt.Errorf("marshal as PKCS #8: %w", err)
	}
	encoded.privatePKCS8 = pemBlock("PRIVATE KEY", pkcs8)
	encoded.publicDER, err = x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return encodedKey{}, fmt.Errorf("marshal the public key: %w", err)
	}
	encoded.publicPEM = pemBlock("PUBLIC KEY", encoded.publicDER)

	switch key := key.(type) {
	case *rsa.PrivateKey:
		encoded.privatePEM = pemBlock("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return encodedKey{}, fmt.Errorf("marshal as SEC 1: %w", err)
		}
		encoded.privatePEM = pemBlock("EC PRIVATE KEY", der)
		if key.Curve == elliptic.P224() {
			return encoded, nil
		}
	default:
		encoded.privatePEM = encoded.privatePKCS8
	}

	openSSH, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return encodedKey{}, fmt.Errorf("marshal for OpenSSH: %w", err)
	}
	encoded.privateOpenSSH = string(pem.EncodeToMemory(openSSH))
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return encodedKey{}, fmt.Errorf("marshal the public key for OpenSSH: %w", err)
	}
	encoded.publicOpenSSH = string(ssh.MarshalAuthorizedKey(public))
	encoded.fingerprintMD5 = ssh.FingerprintLegacyMD5(public)
	encoded.fingerprintSHA256 = ssh.FingerprintSHA256(public)
	return encoded, nil
}

func pemBlock(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
