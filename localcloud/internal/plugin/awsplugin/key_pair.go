package awsplugin

import (
	"crypto/md5" //nolint:gosec // EC2's fingerprint of an imported RSA key is MD5.
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// checkKeyPair checks a public key, and adds its type and fingerprint.
func checkKeyPair(_ *operation, r store.Record) error {
	if r["keyPairId"] != nil {
		return nil
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(r.Text("publicKey")))
	if err != nil || len(options) > 0 || strings.TrimSpace(string(rest)) != "" {
		return apiError("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		sum := sha256.Sum256(key.Marshal())
		r["keyType"], r["fingerprint"] = "ed25519", base64.StdEncoding.EncodeToString(sum[:])
	case ssh.KeyAlgoRSA:
		der, err := x509.MarshalPKIXPublicKey(key.(ssh.CryptoPublicKey).CryptoPublicKey())
		if err != nil {
			return fmt.Errorf("fingerprint the public key: %w", err)
		}
		sum := md5.Sum(der) //nolint:gosec // See above.
		r["keyType"], r["fingerprint"] = "rsa", strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":")
	default:
		return apiError("InvalidKey.Format", "Key of type %s is not supported: EC2 imports ED25519 and RSA keys", key.Type())
	}
	r["publicKey"], r["keyPairId"] = strings.TrimSpace(r.Text("publicKey")), newID("key")
	return nil
}
