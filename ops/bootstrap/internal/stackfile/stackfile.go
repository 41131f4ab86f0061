// Package stackfile reads Pulumi's configuration files for a stack that may not exist yet.
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

// Passphrase is the secrets provider that uses no cloud key.
const Passphrase = "passphrase"

// File holds the region and the encryption settings of Pulumi.STACK.yaml.
type File struct {
	// Name is the file name without its directory.
	Name string
	// Region is aws:region, or "" if it is not set.
	Region string
	// Encrypted lists the configuration keys with encrypted values, sorted.
	Encrypted []string

	provider, key, salt string
}

// Load reads a stack's file in the project's directory. A missing file counts as empty.
func Load(project, stack string) (*File, error) {
	file := &File{Name: "Pulumi." + stack + ".yaml"}
	content, err := os.ReadFile(filepath.Join(project, file.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return file, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the stack's configuration: %w", err)
	}
	var document struct {
		SecretsProvider string         `yaml:"secretsprovider"`
		EncryptedKey    string         `yaml:"encryptedkey"`
		EncryptionSalt  string         `yaml:"encryptionsalt"`
		Config          map[string]any `yaml:"config"`
	}
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", file.Name, err)
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

// Provider returns the secrets provider: Passphrase, the URL of a key, or "" if the file does not name one.
func (f *File) Provider() string {
	if f.provider == "" && f.salt != "" {
		return Passphrase
	}
	return f.provider
}

// Survives reports whether the encrypted values in the file stay readable when the stack is created with the
// secrets provider. `pulumi stack init` replaces the data key unless the file already names that provider.
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

// ProjectName returns the project's name from its Pulumi.yaml.
func ProjectName(project string) (string, error) {
	content, err := os.ReadFile(filepath.Join(project, "Pulumi.yaml"))
	if err != nil {
		return "", fmt.Errorf("cannot read the project: %w", err)
	}
	var document struct{ Name string }
	if err := yaml.Unmarshal(content, &document); err != nil {
		return "", fmt.Errorf("cannot parse Pulumi.yaml: %w", err)
	}
	if document.Name == "" {
		return "", errors.New("cannot read Pulumi.yaml: it has no name")
	}
	return document.Name, nil
}
