package cmd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/crypto/ssh"

	"immutable-infra/localcloud/internal/home"
)

const (
	// adminUser is the user whose key Pulumi.local.yaml names.
	adminUser      = "admin"
	defaultSSHPort = "12222"
)

func (p *project) adminKey() string { return filepath.Join(p.home.SSH(), "id_ed25519") }

// makeAdminKey makes the key pair with which the local stack's admin logs in.
func (p *project) makeAdminKey(context.Context) error {
	if _, err := os.Stat(p.adminKey() + ".pub"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make admin key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "admin of stack "+stackName)
	if err != nil {
		return fmt.Errorf("make admin key: %w", err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return fmt.Errorf("make admin key: %w", err)
	}
	if err := home.WriteFile(p.adminKey(), pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	// Last: it says that the pair is whole.
	return home.WriteFile(p.adminKey()+".pub", ssh.MarshalAuthorizedKey(key), 0o644)
}
