package certificates

import (
	"crypto/sha256"
	"encoding/hex"
)

// Key is the key in the backup bucket of what Traefik has of a certificate authority:
// that of the directory's URL, trusted by the certificates in ca, in PEM. An account
// or a certificate of one is of no use with another, even if that one has the same
// URL, as a test authority has that was set up anew.
func Key(directory, ca string) string {
	sum := sha256.Sum256([]byte(directory + "\n" + ca))
	return "certificates/" + hex.EncodeToString(sum[:8]) + "/acme.json"
}
