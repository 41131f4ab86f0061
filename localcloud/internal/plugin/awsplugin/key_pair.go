package awsplugin

import (
	"context"
	"crypto/md5" //nolint:gosec // EC2's fingerprint of an imported RSA key is MD5.
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"golang.org/x/crypto/ssh"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// keyPair imports key pairs.
type keyPair struct{}

func (keyPair) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	var k store.KeyPair
	if err := schema.Decode(inputs, &k); err != nil {
		return "", err
	}
	if k.KeyNamePrefix != "" {
		k.KeyName = uniqueName(k.KeyNamePrefix)
	}
	if k.KeyName == "" || len(k.KeyName) > 255 {
		return "", apiError("InvalidParameterValue", "the key pair's name must have 1 to 255 characters")
	}
	if _, exists := op.KeyPairs[k.KeyName]; exists {
		return "", apiError("InvalidKeyPair.Duplicate", "The keypair already exists: %s", k.KeyName)
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
	if err != nil || len(options) > 0 || strings.TrimSpace(string(rest)) != "" {
		return "", apiError("InvalidKey.Format", "Key is not in valid OpenSSH public key format")
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519:
		k.KeyType = "ed25519"
		sum := sha256.Sum256(key.Marshal())
		k.Fingerprint = base64.StdEncoding.EncodeToString(sum[:])
	case ssh.KeyAlgoRSA:
		k.KeyType = "rsa"
		k.Fingerprint, err = md5Fingerprint(key)
		if err != nil {
			return "", err
		}
	default:
		return "", apiError("InvalidKey.Format", "Key of type %s is not supported: EC2 imports ED25519 and RSA keys", key.Type())
	}
	k.PublicKey = strings.TrimSpace(k.PublicKey)
	k.ID = k.KeyName
	k.KeyPairID = newID("key")
	k.Arn = op.ec2ARN("key-pair", k.KeyName)
	op.KeyPairs[k.ID] = &k
	return k.ID, nil
}

func (keyPair) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.KeyPairs, id)
}

func (keyPair) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	k, err := found(op.KeyPairs, id)
	if err != nil {
		return err
	}
	var next store.KeyPair
	if err := schema.Decode(inputs, &next); err != nil {
		return err
	}
	k.Tags = next.Tags
	return nil
}

// delete does not mind instances that were launched with the key, as on AWS.
func (keyPair) delete(_ context.Context, op *operation, id string) error {
	if _, err := found(op.KeyPairs, id); err != nil {
		return err
	}
	delete(op.KeyPairs, id)
	return nil
}

// md5Fingerprint is that of the key's DER form, with colons.
func md5Fingerprint(key ssh.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key.(ssh.CryptoPublicKey).CryptoPublicKey())
	if err != nil {
		return "", fmt.Errorf("fingerprint the public key: %w", err)
	}
	sum := md5.Sum(der) //nolint:gosec // See above.
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(parts, ":"), nil
}
