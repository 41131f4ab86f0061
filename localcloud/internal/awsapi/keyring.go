package awsapi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"immutable-infra/localcloud/internal/state"
)

// The states of a key.
const (
	stateEnabled  = "Enabled"
	stateDisabled = "Disabled"
	statePending  = "PendingDeletion"
)

// materialSize is the size of a key's material, in bytes: AES-256.
const materialSize = 32

// keyring is all that KMS knows. It is one file, which only its owner can read.
type keyring struct {
	mu   sync.Mutex
	path string

	Keys    map[string]*key   `json:"keys"`    // by their ids
	Aliases map[string]*alias `json:"aliases"` // by their names, alias/NAME
}

// key is a symmetric key.
type key struct {
	ID           string            `json:"id"`
	Description  string            `json:"description,omitempty"`
	State        string            `json:"state"`
	Created      time.Time         `json:"created"`
	DeletionDate time.Time         `json:"deletionDate,omitzero"`
	RotationDays int               `json:"rotationDays,omitempty"` // 0 while automatic rotation is off
	Tags         map[string]string `json:"tags,omitempty"`
	// Materials are all that there were. The last one encrypts; what an older one
	// has encrypted, it decrypts for ever.
	Materials [][]byte `json:"materials"`
}

// alias is another name of a key.
type alias struct {
	KeyID   string    `json:"keyId"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func openKeyring(path string) (*keyring, error) {
	keys := &keyring{path: path, Keys: map[string]*key{}, Aliases: map[string]*alias{}}
	if err := state.ReadJSON(path, keys); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("keys of KMS: %w", err)
	}
	return keys, nil
}

func (k *keyring) save() error { return state.WriteJSON(k.path, k) }

// forget deletes the keys whose time has come, with their aliases.
func (k *keyring) forget(now time.Time) {
	for id, key := range k.Keys {
		if key.State != statePending || now.Before(key.DeletionDate) {
			continue
		}
		delete(k.Keys, id)
		for name, alias := range k.Aliases {
			if alias.KeyID == id {
				delete(k.Aliases, name)
			}
		}
	}
}

func newKey(now time.Time) *key {
	k := &key{ID: newID(), State: stateEnabled, Created: now}
	k.rotate()
	return k
}

func (k *key) rotate() { k.Materials = append(k.Materials, randomBytes(materialSize)) }

// blobVersion is the first byte of a ciphertext. The key's id, the number of its
// material, a nonce and what AES-GCM sealed follow.
const (
	blobVersion  = 1
	idSize       = 16
	headerSize   = 1 + idSize + 4
	nonceSize    = 12
	smallestBlob = headerSize + nonceSize + 16
)

// encrypt seals a text for whoever knows the encryption context.
func (k *key) encrypt(plaintext []byte, context map[string]string) ([]byte, error) {
	id, err := hex.DecodeString(removeDashes(k.ID))
	if err != nil {
		return nil, fmt.Errorf("id of key %s: %w", k.ID, err)
	}
	current := len(k.Materials) - 1
	blob := append([]byte{blobVersion}, id...)
	blob = binary.BigEndian.AppendUint32(blob, uint32(current))
	sealer, err := newSealer(k.Materials[current])
	if err != nil {
		return nil, err
	}
	data, err := additionalData(blob, context)
	if err != nil {
		return nil, err
	}
	nonce := randomBytes(nonceSize)
	return sealer.Seal(append(blob, nonce...), nonce, plaintext, data), nil
}

// keyOf is the id of the key that has encrypted a blob.
func keyOf(blob []byte) (string, bool) {
	if len(blob) < smallestBlob || blob[0] != blobVersion {
		return "", false
	}
	return withDashes(hex.EncodeToString(blob[1 : 1+idSize])), true
}

// decrypt opens what encrypt has sealed; false means that it has not, or not for
// that encryption context.
func (k *key) decrypt(blob []byte, context map[string]string) ([]byte, bool, error) {
	number := int(binary.BigEndian.Uint32(blob[1+idSize : headerSize]))
	if number >= len(k.Materials) {
		return nil, false, nil
	}
	sealer, err := newSealer(k.Materials[number])
	if err != nil {
		return nil, false, err
	}
	data, err := additionalData(blob[:headerSize], context)
	if err != nil {
		return nil, false, err
	}
	plaintext, err := sealer.Open(nil, blob[headerSize:headerSize+nonceSize], blob[headerSize+nonceSize:], data)
	return plaintext, err == nil, nil
}

func newSealer(material []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(material)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// additionalData binds a ciphertext to its header and its encryption context.
func additionalData(header []byte, context map[string]string) ([]byte, error) {
	if len(context) == 0 {
		return header, nil
	}
	text, err := json.Marshal(context) // in the order of the keys
	return slices.Concat(header, text), err
}

// newID returns an id in the form of KMS's: a UUID.
func newID() string {
	id := randomBytes(idSize)
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return withDashes(hex.EncodeToString(id))
}

func withDashes(digits string) string {
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

func removeDashes(id string) string {
	return string(slices.DeleteFunc([]byte(id), func(c byte) bool { return c == '-' }))
}

// randomBytes needs no error: crypto/rand ends the program rather than fail.
func randomBytes(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b)
	return b
}
