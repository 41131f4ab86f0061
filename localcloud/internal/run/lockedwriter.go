package run

import (
	"io"
	"sync"
)

// lockedWriter keeps a command's two output streams from interleaving within
// one write.
type lockedWriter struct {
	mu      sync.Mutex
	writers []io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, writer := range w.writers {
		if n, err := writer.Write(p); err != nil {
			return n, err
		}
	}
	return len(p), nil
}
