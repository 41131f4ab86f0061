// Package stackfile reads of Pulumi's files what is known before there is a stack.
package stackfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"gopkg.in/yaml.v3"
)

// Passphrase is the secrets provider that needs no key of a cloud.
const Passphrase = "passphrase"

// File is what Pulumi.STACK.yaml says of where the stack is and how its secrets are encrypted.
type File struct {
	// Name is the file's name, without its directory.
	Name string
	// Region is aws:region; "" if it is not set.
	Region string
	// Encrypted are the configuration keys whose values are encrypted, in order.
	Encrypted []string

	provider, key, salt string
}

// Load reads the file of a stack in the project's directory. One that is not there is empty.
func Load(project, stack string) (*File, error) {
	file := &File{Name: "Pulumi." + stack + ".yaml"}
	content, err := os.ReadFile(filepath.Join(project, file.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stack's configuration: %w", err)
	}
	var document struct {
		SecretsProvider string         `yaml:"secretsprovider"`
		EncryptedKey    string         `yaml:"encryptedkey"`
		EncryptionSalt  string         `yaml:"encryptionsalt"`
		Config          map[string]any `yaml:"config"`
	}
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name, err)
	}
	file.provider, file.key, file.salt = document.SecretsProvider, document.EncryptedKey, document.EncryptionSalt
	file.Region, _ = document.Config["aws:region"].(string)
	for key, value := range document.Config {
		if hasEncrypted(value) {
			file.Encrypted = append(file.Encrypted, key)
		}
	}
	slices.Sort(file.Encrypted)
	return file, nil
}

func hasEncrypted(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		if _, ok := value["secure"].(string); ok && len(value) == 1 {
			return true
		}
		for _, inner := range value {
			if hasEncrypted(inner) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, hasEncrypted)
	}
	return false
}

// Provider is the secrets provider: Passphrase, or the URL of a key; "" if the file names none.
func (f *File) Provider() string {
	if f.provider == "" && f.salt != "" {
		return Passphrase
	}
	return f.provider
}

// Survives says whether what is encrypted in the file can still be read when the stack is
// made with the secrets provider: `pulumi stack init` makes a new data key, and forgets
// the old one, wherever the file is not for that provider already.
func (f *File) Survives(provider string) bool {
	switch {
	case len(f.Encrypted) == 0:
		return true
	case provider == Passphrase:
		return f.Provider() == Passphrase
	default:
		return f.provider == provider && f.key != ""
	}
}

// ProjectName is the name in the project's Pulumi.yaml.
func ProjectName(project string) (string, error) {
	content, err := os.ReadFile(filepath.Join(project, "Pulumi.yaml"))
	if err != nil {
		return "", fmt.Errorf("read the project: %w", err)
	}
	var document struct{ Name string }
	if err := yaml.Unmarshal(content, &document); err != nil {
		return "", fmt.Errorf("read Pulumi.yaml: %w", err)
	}
	if document.Name == "" {
		return "", errors.New("read Pulumi.yaml: it has no name")
	}
	return document.Name, nil
}
