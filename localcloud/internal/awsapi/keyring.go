package awsapi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"immutable-infra/localcloud/internal/state"
)

const (
	stateEnabled  = "Enabled"
	stateDisabled = "Disabled"
	statePending  = "PendingDeletion"
)

// materialSize is the size of the key material in bytes, for AES-256.
const materialSize = 32

// keyring is the state of KMS. It is stored in one file, which only the owner can read.
type keyring struct {
	mu   sync.Mutex
	path string

	Keys    map[string]*key   `json:"keys"`    // by ID
	Aliases map[string]*alias `json:"aliases"` // by name, alias/NAME
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
	// Materials holds all key material since the key's creation. The last one encrypts; the older ones decrypt
	// ciphertexts from before a rotation.
	Materials [][]byte `json:"materials"`
}

type alias struct {
	KeyID string `json:"keyId"`
}

func openKeyring(path string) (*keyring, error) {
	keys := &keyring{path: path, Keys: map[string]*key{}, Aliases: map[string]*alias{}}
	if err := state.ReadJSON(path, keys); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read the KMS keys: %w", err)
	}
	return keys, nil
}

func (k *keyring) save() error { return state.WriteJSON(k.path, k) }

// deleteExpired deletes the keys whose waiting period is over, with their aliases.
func (k *keyring) deleteExpired(now time.Time) {
	for id, key := range k.Keys {
		if key.State != statePending || now.Before(key.DeletionDate) {
			continue
		}
		delete(k.Keys, id)
		maps.DeleteFunc(k.Aliases, func(_ string, a *alias) bool { return a.KeyID == id })
	}
}

func newKey(now time.Time) *key {
	k := &key{ID: uuid.NewString(), State: stateEnabled, Created: now}
	k.rotate()
	return k
}

func (k *key) rotate() {
	material := make([]byte, materialSize)
	_, _ = rand.Read(material) // never fails: crypto/rand crashes the program instead
	k.Materials = append(k.Materials, material)
}

// A ciphertext consists of blobVersion (1 byte), the key ID, the index of the key material (4 bytes), a nonce
// (12 bytes) and the output of AES-GCM, which ends with a tag (16 bytes).
const (
	blobVersion = 1
	idSize      = 16
	headerSize  = 1 + idSize + 4
	minBlobSize = headerSize + 12 + 16
)

// encrypt encrypts plaintext with the current key material. Decryption requires the same encryption context.
func (k *key) encrypt(plaintext []byte, context map[string]string) ([]byte, error) {
	id, err := uuid.Parse(k.ID)
	if err != nil {
		return nil, fmt.Errorf("invalid ID of key %s: %w", k.ID, err)
	}
	current := len(k.Materials) - 1
	header := binary.BigEndian.AppendUint32(append([]byte{blobVersion}, id[:]...), uint32(current))
	aead, data, err := k.aead(current, header, context)
	if err != nil {
		return nil, err
	}
	return aead.Seal(header, nil, plaintext, data), nil
}

// keyIDOf returns the ID of the key that encrypted blob, or false if blob is not a ciphertext.
func keyIDOf(blob []byte) (string, bool) {
	if len(blob) < minBlobSize || blob[0] != blobVersion {
		return "", false
	}
	return uuid.UUID(blob[1 : 1+idSize]).String(), true
}

// decrypt decrypts a ciphertext of encrypt. It returns false if blob is not a ciphertext of this key, or has another
// encryption context.
func (k *key) decrypt(blob []byte, context map[string]string) ([]byte, bool, error) {
	index := int(binary.BigEndian.Uint32(blob[1+idSize : headerSize]))
	if index >= len(k.Materials) {
		return nil, false, nil
	}
	aead, data, err := k.aead(index, blob[:headerSize], context)
	if err != nil {
		return nil, false, err
	}
	plaintext, err := aead.Open(nil, nil, blob[headerSize:], data)
	return plaintext, err == nil, nil
}

// aead returns the cipher for the key material at index, and the additional data that binds a ciphertext to its header
// and its encryption context.
func (k *key) aead(index int, header []byte, context map[string]string) (cipher.AEAD, []byte, error) {
	block, err := aes.NewCipher(k.Materials[index])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil || len(context) == 0 {
		return aead, header, err
	}
	text, err := json.Marshal(context) // sorted by key
	return aead, slices.Concat(header, text), err
}
