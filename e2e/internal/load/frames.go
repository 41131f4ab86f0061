package load

import (
	"io"
	"net"

	"golang.org/x/net/http2"
)

// frames is the client's side of an HTTP/2 connection that reports a GOAWAY frame, which means that the site accepts no
// more requests on the connection (RFC 9113, section 6.8). Go's client handles the frame silently.
type frames struct {
	net.Conn
	seen *io.PipeWriter
}

// newFrames wraps a connection and calls goAway once, when the frame arrives.
func newFrames(connection net.Conn, goAway func()) *frames {
	reader, writer := io.Pipe()
	go func() {
		framer := http2.NewFramer(io.Discard, reader)
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				// The rest is not needed, and writes to the pipe must not block.
				reader.Close()
				return
			}
			if _, announced := frame.(*http2.GoAwayFrame); announced {
				goAway()
				reader.Close()
				return
			}
		}
	}()
	return &frames{Conn: connection, seen: writer}
}

func (f *frames) Read(buffer []byte) (int, error) {
	n, err := f.Conn.Read(buffer)
	if n > 0 {
		// An error means that the reader is closed.
		_, _ = f.seen.Write(buffer[:n])
	}
	if err != nil {
		f.seen.Close()
	}
	return n, err
}

func (f *frames) Close() error {
	f.seen.Close()
	return f.Conn.Close()
}
