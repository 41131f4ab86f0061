package dockerd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Memory returns the resident memory of localcloud's own engine in bytes. It counts dockerd, containerd and the
// shims, whose command lines all contain the engine's exec root.
func (e *Engine) Memory() (int64, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	var total int64
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte(e.execRoot())) {
			continue // the process has exited or is another program
		}
		// The second field is the resident memory in pages (proc_pid_statm(5)).
		statm, err := os.ReadFile(filepath.Join(filepath.Dir(file), "statm"))
		if err != nil {
			continue // the process has exited
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
			return 0, fmt.Errorf("cannot parse the memory use of %s: %w", filepath.Dir(file), err)
		}
		total += resident * int64(os.Getpagesize())
	}
	return total, nil
}
