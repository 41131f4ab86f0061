package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// Digest is the SHA-256 of a file's bytes.
type Digest [sha256.Size]byte

// ParseDigest parses 64 lower-case hexadecimal digits, as sha256sum writes them.
func ParseDigest(text string) (Digest, error) {
	var digest Digest
	if len(text) != hex.EncodedLen(len(digest)) {
		return Digest{}, fmt.Errorf("hash has %d characters, not 64", len(text))
	}
	if _, err := hex.Decode(digest[:], []byte(text)); err != nil {
		return Digest{}, fmt.Errorf("hash: %w", err)
	}
	if digest.String() != text {
		return Digest{}, fmt.Errorf("hash %s has upper-case digits; sha256sum writes lower case", text)
	}
	return digest, nil
}

// String returns the digest as sha256sum writes it.
func (d Digest) String() string {
	return hex.EncodeToString(d[:])
}

// DigestFile returns the digest of a file, and its size in bytes.
func DigestFile(path string) (Digest, int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return Digest{}, 0, err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return Digest{}, 0, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return Digest(hash.Sum(nil)), size, nil
}
