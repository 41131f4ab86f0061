// Package testtool finds the programs that tests need, and runs an S3 server.
package testtool

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Required is the environment variable that makes tests fail instead of skip when a tool is missing. `make check`,
// which provides every tool, sets it to 1, because a skipped test looks like one that passed.
const Required = "REQUIRE_TOOLS"

// Missing skips or fails a test because a tool is missing: see Required. The message names the tool and how to get it.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(Required) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Path returns the path of a program that `make tools` installs or unpacks. If it is missing, the test ends.
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

// Named returns the program that an environment variable names. If it is not set, the test ends.
func Named(t testing.TB, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		Missing(t, "%s is not set: run make tools, and see CONTRIBUTING.md for its value", variable)
	}
	return path
}
