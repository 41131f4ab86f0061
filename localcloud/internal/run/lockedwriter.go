package run

import (
	"io"
	"sync"
)

// lockedWriter keeps a command's two output streams from interleaving within
// one write.
type lockedWriter struct {
	mu     sync.Mutex
	writer io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writer.Write(p)
}
