package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
			continue // gone meanwhile, or another program
		}
		resident, err := residentMemory(filepath.Dir(file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		total += resident
	}
	return total, nil
}

// residentMemory reads VmRSS of proc(5), which is in kB.
func residentMemory(process string) (int64, error) {
	status, err := os.ReadFile(filepath.Join(process, "status"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		value, found := strings.CutPrefix(line, "VmRSS:")
		if !found {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s/status: %w", process, err)
		}
		return kilobytes * 1024, nil
	}
	return 0, nil // a process that is ending
}
