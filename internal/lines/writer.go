// Package lines makes the output of other programs safe for Pulumi's command provider, which hangs forever on a line of
// 64 KiB, such as a progress bar, and fails on text that is not UTF-8.
package lines

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// maxLine is how many bytes of a line are written.
const maxLine = 8 << 10

// Writer writes text as whole lines of at most 8 KiB in UTF-8. A carriage return also ends a line; longer lines are
// truncated. It is safe for concurrent use. Close writes the last line.
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
		// Drop empty lines of progress bars, but keep those of ordinary text.
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

// keep appends text to the line, up to maxLine.
func (w *Writer) keep(text []byte) {
	if len(text) > 0 {
		w.returned = false
		w.line = append(w.line, text[:min(len(text), maxLine-len(w.line))]...)
	}
}

func (w *Writer) flush() error {
	line := strings.ToValidUTF8(string(w.line), "?") + "\n"
	w.line = w.line[:0]
	_, err := io.WriteString(w.target, line)
	return err
}
