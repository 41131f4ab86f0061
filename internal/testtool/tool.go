// Package testtool finds the programs that tests need, and runs the S3 server among them.
package testtool

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Required is the environment variable with which a missing tool fails a test. `make check`, which
// provides every tool, sets it to 1: a skipped test looks as if it had passed.
const Required = "REQUIRE_TOOLS"

// Missing ends a test whose tool is missing. The message says which, and how to get it.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(Required) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Path returns the path of a program that `make tools` installs or unpacks.
func Path(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrNotFound) {
		Missing(t, "%s is not on the PATH: run make tools, and see CONTRIBUTING.md for the PATH", program)
	}
	if err != nil {
		t.Fatalf("cannot find %s: %v", program, err)
	}
	return path
}

// Named returns the program that an environment variable names.
func Named(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		Missing(t, "%s is not set: run make tools, and see CONTRIBUTING.md for its value", variable)
	}
	return path
}
