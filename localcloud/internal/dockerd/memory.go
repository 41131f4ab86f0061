package dockerd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
)

// Memory is the resident memory of localcloud's own engine in bytes: dockerd,
// containerd and the shims, which all name the home on their command lines.
func (e *Engine) Memory() (int64, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	var total int64
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(line, []byte(e.execRoot())) {
			continue // ended meanwhile, or another program
		}
		// The second field is the resident memory in pages (proc_pid_statm(5)).
		statm, err := os.ReadFile(filepath.Join(filepath.Dir(file), "statm"))
		if err != nil {
			continue // ended meanwhile
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
			return 0, fmt.Errorf("memory of %s: %w", filepath.Dir(file), err)
		}
		total += resident * int64(os.Getpagesize())
	}
	return total, nil
}
