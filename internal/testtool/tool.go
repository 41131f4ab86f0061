// Package testtool finds or writes the programs that tests need, and runs an S3 server.
package testtool

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
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

// WriteProgram creates a program. The test, and the tests that run at the same time, may start programs at once.
func WriteProgram(t testing.TB, path, content string) {
	t.Helper()
	// A process that is forked meanwhile would have the file open for writing until it executes its own program. As
	// long as one does, the kernel refuses to execute this one ("text file busy").
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}
