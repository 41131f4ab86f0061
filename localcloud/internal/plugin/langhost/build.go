package langhost

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"immutable-infra/localcloud/internal/home"
)

// lockInterval is how often another build of the same program is looked at.
const lockInterval = 50 * time.Millisecond

// buildAndStart builds the program in dir and starts it with start. Where
// LOCALCLOUD_HOME is set the executable stays there, so that an unchanged
// program need not be linked again; otherwise it is removed once started.
func buildAndStart(
	ctx context.Context, dir string, start func(executable string) (*exec.Cmd, error),
) (started *exec.Cmd, err error) {
	executable, done, err := executableFor(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("build the program in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	if err := build(ctx, dir, executable); err != nil {
		return nil, fmt.Errorf("build the program in %s: %w", dir, err)
	}
	return start(executable)
}

// executableFor is where the executable of dir goes. It is the caller's alone
// until the function that is returned with it, to be called once it runs.
func executableFor(ctx context.Context, dir string) (string, func() error, error) {
	localcloud := home.Home(os.Getenv(home.Variable))
	if localcloud == "" {
		temporary, err := os.MkdirTemp("", "pulumi-program-")
		if err != nil {
			return "", nil, err
		}
		return filepath.Join(temporary, "program"), func() error { return os.RemoveAll(temporary) }, nil
	}
	if err := os.MkdirAll(localcloud.Programs(), 0o755); err != nil {
		return "", nil, err
	}
	hash := sha256.Sum256([]byte(dir))
	executable := filepath.Join(localcloud.Programs(), hex.EncodeToString(hash[:8]))
	lock := flock.New(executable + ".lock")
	if _, err := lock.TryLockContext(ctx, lockInterval); err != nil {
		return "", nil, fmt.Errorf("wait for another build of it: %w", err)
	}
	return executable, lock.Unlock, nil
}

// build compiles the package in dir. Its error holds the compiler's output.
func build(ctx context.Context, dir, executable string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", executable, ".")
	cmd.Dir = dir
	// As `make` builds everything else, so that each package is compiled once.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		// Not wrapped: the compiler's exit status is not the program's.
		return fmt.Errorf("go build: %s\n%s", err, output.String())
	}
	info, err := os.Stat(executable)
	if err != nil {
		return err
	}
	if info.Mode()&0o111 == 0 {
		return errors.New("go build made no executable: the package there must be main")
	}
	return nil
}
