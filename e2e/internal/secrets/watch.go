package secrets

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"
)

// interval is the time between two listings of the processes. Processes with shorter lives may be missed.
const interval = 50 * time.Millisecond

// Watcher lists all processes of the machine, including those in containers.
type Watcher struct {
	cancel context.CancelFunc
	done   chan []byte
}

// Watch lists the processes with their arguments repeatedly until End is called.
func Watch(ctx context.Context) *Watcher {
	ctx, cancel := context.WithCancel(ctx)
	watcher := &Watcher{cancel: cancel, done: make(chan []byte, 1)}
	go func() {
		seen := map[string]bool{}
		var all bytes.Buffer
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			list(seen, &all)
			select {
			case <-ctx.Done():
				watcher.done <- all.Bytes()
				return
			case <-tick.C:
			}
		}
	}()
	return watcher
}

// list adds the processes that were not seen before, one per line.
func list(seen map[string]bool, all *bytes.Buffer) {
	// The pattern is valid. Processes may end meanwhile.
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		arguments, err := os.ReadFile(path)
		if err != nil || seen[string(arguments)] {
			continue
		}
		seen[string(arguments)] = true
		all.Write(bytes.ReplaceAll(bytes.TrimRight(arguments, "\x00"), []byte{0}, []byte{' '}))
		all.WriteByte('\n')
	}
}

// End stops the watcher and returns the command lines of all processes it saw, one per line.
func (w *Watcher) End() []byte {
	w.cancel()
	return <-w.done
}
