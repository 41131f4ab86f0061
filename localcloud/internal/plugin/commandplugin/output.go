package commandplugin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	p "github.com/pulumi/pulumi-go-provider"
)

// output collects what a command writes and shows it to the engine, line by
// line, as Logging asks.
type output struct {
	stdout, stderr *stream
	// both is the two streams in the order of their arrival, for the error of
	// a failed command.
	both *lockedBuffer
}

func newOutput(ctx context.Context, logging *Logging) *output {
	both := &lockedBuffer{}
	show := p.GetLogger(ctx).InfoStatus
	out := &output{stdout: &stream{both: both}, stderr: &stream{both: both}, both: both}
	if logging.logsStdout() {
		out.stdout.show = show
	}
	if logging.logsStderr() {
		out.stderr.show = show
	}
	return out
}

// outputs are the resource's outputs; it is called after the command ended.
func (o *output) outputs() CommandOutputs {
	o.stdout.end()
	o.stderr.end()
	return CommandOutputs{
		Stdout: strings.TrimSuffix(o.stdout.all.String(), "\n"),
		Stderr: strings.TrimSuffix(o.stderr.all.String(), "\n"),
	}
}

// failure is the error of a command that ended with err; it is called after
// the command ended. Its wording is the real plugin's.
func (o *output) failure(command string, err error) error {
	o.stdout.end()
	o.stderr.end()
	return fmt.Errorf("%w: running %q:\n%s", err, command, o.both.String())
}

// stream is one of a command's output streams. One goroutine writes to it.
type stream struct {
	all  bytes.Buffer
	both io.Writer
	show func(line string) // nil: the stream is not shown
	line bytes.Buffer      // the beginning of a line that has not ended yet
}

func (s *stream) Write(chunk []byte) (int, error) {
	s.all.Write(chunk)
	if _, err := s.both.Write(chunk); err != nil {
		return 0, err
	}
	if s.show == nil {
		return len(chunk), nil
	}
	s.line.Write(chunk)
	for {
		line, rest, ended := bytes.Cut(s.line.Bytes(), []byte("\n"))
		if !ended {
			return len(chunk), nil
		}
		s.show(string(line))
		s.line.Next(s.line.Len() - len(rest))
	}
}

// end shows a last line that has no newline.
func (s *stream) end() {
	if s.show != nil && s.line.Len() > 0 {
		s.show(s.line.String())
		s.line.Reset()
	}
}

// lockedBuffer is a buffer that two streams write to.
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
