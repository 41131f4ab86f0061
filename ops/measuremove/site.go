package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// serverPath is the path at which each server returns its id.
const serverPath = "/.well-known/server"

// maxBody is the maximum number of bytes read from a response.
const maxBody = 4096

// site is a site at one address.
type site struct {
	// name is the site's domain name, for which its certificate must be valid.
	name string
	// dial opens a TCP connection to the address.
	dial func(ctx context.Context) (net.Conn, error)
	// roots are the trusted CAs. Default: this machine's.
	roots *x509.CertPool
}

// stage is a part of a request.
type stage string

const (
	connecting stage = "connect"
	securing   stage = "tls"
	answering  stage = "response"
)

// connection is a connection to a site. It implements HTTP/1.1 itself: net/http's client retries a request whose
// connection broke, and reports neither when a connection ended nor why.
type connection struct {
	net.Conn
	name   string
	reader *bufio.Reader
}

// opening describes how a connection was opened. failedIn is the stage that failed, or "".
type opening struct {
	connect, secure time.Duration
	failedIn        stage
}

// open opens a connection before ctx ends.
func (s site) open(ctx context.Context) (*connection, opening, error) {
	began := time.Now()
	plain, err := s.dial(ctx)
	if err != nil {
		return nil, opening{failedIn: connecting}, err
	}
	done := opening{connect: time.Since(began)}
	began = time.Now()
	secured := tls.Client(plain, &tls.Config{ServerName: s.name, RootCAs: s.roots, NextProtos: []string{"http/1.1"}})
	if err := secured.HandshakeContext(ctx); err != nil {
		plain.Close()
		done.failedIn = securing
		return nil, done, err
	}
	done.secure = time.Since(began)
	return &connection{Conn: secured, name: s.name, reader: bufio.NewReader(secured)}, done, nil
}

// close closes the connection at once, without TLS's close_notify, which would block if the peer no longer exists.
func (c *connection) close() {
	if secured, ok := c.Conn.(*tls.Conn); ok {
		secured.NetConn().Close()
	}
}

// send sends a request with a query, which the server's access log shows. last asks the server to close the connection
// after the response.
func (c *connection) send(query string, last bool) error {
	request, err := http.NewRequest(http.MethodGet, "https://"+c.name+serverPath+"?"+query, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "measure-move")
	request.Close = last
	return request.Write(c)
}

// statusError is a response without the server's id.
type statusError struct{ status int }

func (e statusError) Error() string { return fmt.Sprintf("status %d", e.status) }

// receive reads a response and returns the server id in it. last reports whether the server closes the connection.
func (c *connection) receive() (server string, last bool, err error) {
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return "", true, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return "", true, err
	}
	var parsed struct{ Server string }
	if response.StatusCode != http.StatusOK || json.Unmarshal(body, &parsed) != nil || parsed.Server == "" {
		return "", true, statusError{response.StatusCode}
	}
	return parsed.Server, response.Close, nil
}

// ask sends the only request of a connection and returns the id of the server that answers before ctx ends.
func (c *connection) ask(ctx context.Context, number int) (server string, err error) {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	if err := c.send(fmt.Sprintf("n=%d", number), true); err != nil {
		return "", err
	}
	server, _, err = c.receive()
	return server, err
}

// Kinds of failures.
const (
	kindRefused  = "refused"
	kindTimedOut = "timed out"
	kindReset    = "reset"
)

// kindOf classifies an error: one of the kinds above, "closed", "unreachable", "certificate", a status such as "status
// 503", "client" (a limit of this machine) or "other".
func kindOf(err error) string {
	for _, known := range []struct {
		err  error
		kind string
	}{
		{syscall.ECONNREFUSED, kindRefused},
		{syscall.ECONNRESET, kindReset}, {syscall.EPIPE, kindReset},
		{syscall.EHOSTUNREACH, "unreachable"}, {syscall.ENETUNREACH, "unreachable"},
		{syscall.EADDRNOTAVAIL, "client"}, {syscall.EMFILE, "client"}, {syscall.ENFILE, "client"},
		{syscall.ETIMEDOUT, kindTimedOut}, {context.DeadlineExceeded, kindTimedOut}, {os.ErrDeadlineExceeded, kindTimedOut},
		{io.EOF, "closed"}, {io.ErrUnexpectedEOF, "closed"}, {io.ErrClosedPipe, "closed"}, {net.ErrClosed, "closed"},
	} {
		if errors.Is(err, known.err) {
			return known.kind
		}
	}
	if status := (statusError{}); errors.As(err, &status) {
		return status.Error()
	}
	if untrusted := (*tls.CertificateVerificationError)(nil); errors.As(err, &untrusted) {
		return "certificate"
	}
	// The dialer returns its own error for an exceeded deadline.
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return kindTimedOut
	}
	return "other"
}
