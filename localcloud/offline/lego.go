package offline

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/localcloud/internal/run"
)

// Lego is Traefik's ACME client. The version is the one that Traefik's go.mod requires; the checksum has the format of
// go.sum.
const (
	legoModule  = "github.com/go-acme/lego/v5"
	legoVersion = "v5.4.1"
	legoSum     = "h1:Jt6xAP9xQrJ3SLLGgxejfDDd3pzdrmuLCWe4oTqHHQc="
)

// noProviders replaces the source of lego's package for DNS providers.
//
//go:embed lego_dns.go.txt
var noProviders []byte

// legoDir returns the directory from which tools/traefik/go.mod replaces lego.
func (t Tools) legoDir() string {
	return filepath.Join(t.Root, ".localcloud", "cache", "lego-"+legoVersion)
}

// prepareLego creates legoDir with the ACME client, but without its DNS providers. They need some 150 modules, and not
// every module mirror serves all of them.
func (t Tools) prepareLego(ctx context.Context) error {
	target := t.legoDir()
	if _, err := os.Stat(target); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot access Traefik's ACME client: %w", err)
	}
	args := []string{"mod", "download", "-json", legoModule + "@" + legoVersion}
	output, err := t.Runner.Run(ctx, run.Command{Name: "go", Args: args})
	var downloaded struct{ Dir, Sum string }
	if err == nil {
		err = json.Unmarshal(output, &downloaded)
	}
	if err != nil {
		return fmt.Errorf("cannot download Traefik's ACME client: %w", err)
	}
	if downloaded.Sum != legoSum {
		return fmt.Errorf("%s %s has the checksum %s instead of %s", legoModule, legoVersion, downloaded.Sum, legoSum)
	}
	// The rename makes the directory appear complete or not at all.
	temporary := target + ".new"
	providers := filepath.Join(temporary, "providers", "dns")
	for _, step := range []func() error{
		func() error { return os.RemoveAll(temporary) },
		func() error { return os.CopyFS(temporary, os.DirFS(downloaded.Dir)) },
		func() error { return os.RemoveAll(providers) },
		func() error { return os.Mkdir(providers, 0o755) },
		func() error { return os.WriteFile(filepath.Join(providers, "none.go"), noProviders, 0o644) },
		func() error { return os.Rename(temporary, target) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("cannot remove the DNS providers from Traefik's ACME client: %w", err)
		}
	}
	return nil
}
