// Package lines makes the output of foreign programs safe for Pulumi's command provider, which hangs forever at a line
// of 64 KiB, such as a progress bar, and fails at text that is not UTF-8.
package lines

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// longest is how many bytes of a line are written.
const longest = 8 << 10

// Writer writes text in whole lines of at most 8 KiB, in UTF-8. A carriage return ends a line as well; longer lines are
// cut. It is safe for concurrent use. Close writes the last line.
type Writer struct {
	mutex    sync.Mutex
	target   io.Writer
	line     []byte
	returned bool // the last byte was a carriage return
}

// NewWriter returns a Writer that writes to target.
func NewWriter(target io.Writer) *Writer { return &Writer{target: target} }

func (w *Writer) Write(text []byte) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for rest := text; len(rest) > 0; {
		end := bytes.IndexAny(rest, "\r\n")
		if end < 0 {
			w.keep(rest)
			break
		}
		w.keep(rest[:end])
		// Empty lines of a progress bar are dropped, those of a text are not.
		empty := len(w.line) == 0 && (w.returned || rest[end] == '\r')
		w.returned = rest[end] == '\r'
		rest = rest[end+1:]
		if empty {
			continue
		}
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	return len(text), nil
}

// Close writes an unfinished last line. It leaves the target open.
func (w *Writer) Close() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if len(w.line) == 0 {
		return nil
	}
	return w.flush()
}

// keep appends text to the line, up to longest.
func (w *Writer) keep(text []byte) {
	if len(text) > 0 {
		w.returned = false
		w.line = append(w.line, text[:min(len(text), longest-len(w.line))]...)
	}
}

func (w *Writer) flush() error {
	line := strings.ToValidUTF8(string(w.line), "?") + "\n"
	w.line = w.line[:0]
	_, err := io.WriteString(w.target, line)
	return err
}
