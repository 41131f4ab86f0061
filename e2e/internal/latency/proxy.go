// Package latency simulates a distant server.
package latency

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy forwards connections to an address until the test ends, and returns its own address. It delays each
// response and the opening of each connection by the given time, like a network with that round-trip time.
func Proxy(t *testing.T, address string, late time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go forward(client, address, late)
		}
	}()
	return listener.Addr().String()
}

func forward(client net.Conn, address string, late time.Duration) {
	defer client.Close()
	time.Sleep(late) // simulates the network
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		pipe(server, client, 0)
		// The other direction stays open for the rest of the response.
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	pipe(client, server, late)
}

// pipe copies bytes with a delay.
func pipe(to, from net.Conn, late time.Duration) {
	type chunk struct {
		at    time.Time
		bytes []byte
	}
	// The buffer holds the chunks of a long response, so that the delay does not limit the throughput.
	chunks := make(chan chunk, 4096)
	go func() {
		defer close(chunks)
		for {
			buffer := make([]byte, 32<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				chunks <- chunk{time.Now().Add(late), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for c := range chunks {
		if !failed {
			time.Sleep(time.Until(c.at))
			_, err := to.Write(c.bytes)
			failed = err != nil
		}
	}
}
