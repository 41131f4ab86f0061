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

type alias struct {
	KeyID string `json:"keyId"`
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
	_, _ = rand.Read(material) // crypto/rand ends the program rather than fail
	k.Materials = append(k.Materials, material)
}

// blobVersion is the first byte of a ciphertext. The key's id, the number of its
// material, a nonce and what AES-GCM sealed follow.
const (
	blobVersion  = 1
	idSize       = 16
	headerSize   = 1 + idSize + 4
	smallestBlob = headerSize + 12 + 16
)

// encrypt seals a text for whoever knows the encryption context.
func (k *key) encrypt(plaintext []byte, context map[string]string) ([]byte, error) {
	id, err := uuid.Parse(k.ID)
	if err != nil {
		return nil, fmt.Errorf("id of key %s: %w", k.ID, err)
	}
	current := len(k.Materials) - 1
	header := binary.BigEndian.AppendUint32(append([]byte{blobVersion}, id[:]...), uint32(current))
	sealer, data, err := k.sealer(current, header, context)
	if err != nil {
		return nil, err
	}
	return sealer.Seal(header, nil, plaintext, data), nil
}

// keyOf is the id of the key that has encrypted a blob.
func keyOf(blob []byte) (string, bool) {
	if len(blob) < smallestBlob || blob[0] != blobVersion {
		return "", false
	}
	return uuid.UUID(blob[1 : 1+idSize]).String(), true
}

// decrypt opens what encrypt has sealed; false means that it has not, or not for
// that encryption context.
func (k *key) decrypt(blob []byte, context map[string]string) ([]byte, bool, error) {
	number := int(binary.BigEndian.Uint32(blob[1+idSize : headerSize]))
	if number >= len(k.Materials) {
		return nil, false, nil
	}
	sealer, data, err := k.sealer(number, blob[:headerSize], context)
	if err != nil {
		return nil, false, err
	}
	plaintext, err := sealer.Open(nil, nil, blob[headerSize:], data)
	return plaintext, err == nil, nil
}

// sealer returns the cipher of one of a key's materials, with the data that binds a
// ciphertext to its header and its encryption context.
func (k *key) sealer(number int, header []byte, context map[string]string) (cipher.AEAD, []byte, error) {
	block, err := aes.NewCipher(k.Materials[number])
	if err != nil {
		return nil, nil, err
	}
	sealer, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil || len(context) == 0 {
		return sealer, header, err
	}
	text, err := json.Marshal(context) // in the order of the keys
	return sealer, slices.Concat(header, text), err
}
