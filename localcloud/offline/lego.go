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

// Lego is the ACME client of Traefik: the release that Traefik's own go.mod requires, and its checksum in
// the format of go.sum.
const (
	legoModule  = "github.com/go-acme/lego/v5"
	legoVersion = "v5.4.1"
	legoSum     = "h1:Jt6xAP9xQrJ3SLLGgxejfDDd3pzdrmuLCWe4oTqHHQc="
)

// noProviders replaces lego's package of DNS providers.
//
//go:embed lego_dns.go.txt
var noProviders []byte

// legoDir is where tools/traefik/go.mod finds lego.
func (t Tools) legoDir() string {
	return filepath.Join(t.Root, ".localcloud", "cache", "lego-"+legoVersion)
}

// lego makes the directory of the ACME client without its DNS providers. These need some 150 modules, not all of
// which every module mirror serves.
func (t Tools) lego(ctx context.Context) error {
	target := t.legoDir()
	if _, err := os.Stat(target); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("find Traefik's ACME client: %w", err)
	}
	arguments := []string{"mod", "download", "-json", legoModule + "@" + legoVersion}
	output, err := t.Runner.Run(ctx, run.Command{Name: "go", Args: arguments})
	var downloaded struct{ Dir, Sum string }
	if err == nil {
		err = json.Unmarshal(output, &downloaded)
	}
	if err != nil {
		return fmt.Errorf("download Traefik's ACME client: %w", err)
	}
	if downloaded.Sum != legoSum {
		return fmt.Errorf("%s %s has the checksum %s instead of %s", legoModule, legoVersion, downloaded.Sum, legoSum)
	}
	// Whole or not at all: a rename.
	unfinished := target + ".new"
	providers := filepath.Join(unfinished, "providers", "dns")
	for _, step := range []func() error{
		func() error { return os.RemoveAll(unfinished) },
		func() error { return os.CopyFS(unfinished, os.DirFS(downloaded.Dir)) },
		func() error { return os.RemoveAll(providers) },
		func() error { return os.Mkdir(providers, 0o755) },
		func() error { return os.WriteFile(filepath.Join(providers, "none.go"), noProviders, 0o644) },
		func() error { return os.Rename(unfinished, target) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("cut the DNS providers out of Traefik's ACME client: %w", err)
		}
	}
	return nil
}
