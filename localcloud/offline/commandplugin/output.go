package commandplugin

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	p "github.com/pulumi/pulumi-go-provider"
)

// Logging says which output of a command the engine shows while it runs; unset means both. It does
// not affect the outputs stdout and stderr. Any other value than these shows nothing.
type Logging string

// The values of Logging.
const (
	LogStdout          Logging = "stdout"
	LogStderr          Logging = "stderr"
	LogStdoutAndStderr Logging = "stdoutAndStderr"
	LogNone            Logging = "none"
)

// output collects what a command writes and shows it to the engine, line by
// line, as Logging asks.
//
// As in the real plugin, a line that bufio.Scanner cannot hold (64 KiB with its
// newline) ends the showing, and nothing reads the pipe from then on: the
// command blocks at its next write, and the plugin waits for it without end.
type output struct {
	stdout, stderr io.Writer
	// both is the two streams in the order of their arrival, for the error of a
	// failed command.
	both                         lockedBuffer
	stdoutContent, stderrContent bytes.Buffer

	lines *io.PipeWriter
	shown chan struct{} // closed when nothing is shown any more
}

func newOutput(ctx context.Context, logging *Logging) *output {
	reader, lines := io.Pipe()
	out := &output{lines: lines, shown: make(chan struct{})}
	collect := func(content io.Writer, own Logging) io.Writer {
		if logging == nil || *logging == own || *logging == LogStdoutAndStderr {
			return io.MultiWriter(content, &out.both, lines)
		}
		return io.MultiWriter(content, &out.both)
	}
	out.stdout = collect(&out.stdoutContent, LogStdout)
	out.stderr = collect(&out.stderrContent, LogStderr)
	go func() {
		defer close(out.shown)
		for scanner := bufio.NewScanner(reader); scanner.Scan(); {
			p.GetLogger(ctx).InfoStatus(scanner.Text())
		}
	}()
	return out
}

// finish waits until all is shown of a command that ended with err. It returns the outputs, or an
// error in the real plugin's words.
func (o *output) finish(command string, err error) (CommandOutputs, error) {
	_ = o.lines.Close() // never fails
	<-o.shown
	if err != nil {
		return CommandOutputs{}, fmt.Errorf("%w: running %q:\n%s", err, command, o.both.String())
	}
	return CommandOutputs{
		Stdout: strings.TrimSuffix(o.stdoutContent.String(), "\n"),
		Stderr: strings.TrimSuffix(o.stderrContent.String(), "\n"),
	}, nil
}

type lockedBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(chunk []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(chunk)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}
