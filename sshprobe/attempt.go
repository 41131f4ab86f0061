// Package sshprobe waits until a login over SSH succeeds, and reports why it fails.
//
// Pulumi's command provider, which runs the remote commands of an update, reports no reason for a refused login, and
// hangs forever if a port accepts a connection but sends nothing. The update therefore runs this probe first.
package sshprobe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// Login is a login over SSH.
type Login struct {
	// Address is host:port.
	Address string
	User    string
	// PrivateKey is in PEM.
	PrivateKey string
	// HostKey is the pinned key of the server, one line of authorized_keys.
	HostKey string
}

// Reason is why a login fails.
type Reason string

// The reasons, with hints on what to check.
const (
	// NotListening means that the connection is refused.
	NotListening Reason = "nothing listens: the server is still booting, or its SSH daemon did not start"
	// TimesOut means that the connection times out, usually because a firewall drops packets.
	TimesOut Reason = "times out: is this machine in sshAllowFrom?"
	// Unreachable means that the connection fails with another network error.
	Unreachable Reason = "cannot connect"
	// Silent means that the server accepts the connection but sends no data.
	Silent Reason = "accepts the connection but says nothing: the SSH daemon or the server hangs"
	// Stalls means that the server stops responding during the login.
	Stalls Reason = "stops answering during the login: the server is overloaded or hangs"
	// HungUp means that the server closes the connection before it accepts or refuses the login.
	HungUp Reason = "hangs up: the SSH daemon is still starting, or rejects this machine for a while"
	// NotSSH means that the response is in another protocol.
	NotSSH Reason = "answers, but is no SSH daemon: is sshPort right?"
	// HostKeyMismatch means that the server's host key is not the pinned one.
	HostKeyMismatch Reason = "host key mismatch: another machine answers at this address"
	// Refused means that the server refuses the login.
	Refused Reason = "login refused: still booting, or the boot failed"
	// NoCommand means that the login succeeds, but a command cannot be run.
	NoCommand Reason = "accepts the login but cannot run a command"
)

// Failure is a login that failed.
type Failure struct {
	Reason Reason
	// Cause is the error of the network or the SSH client.
	Cause error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s (%s)", f.Reason, f.Cause) }

func (f *Failure) Unwrap() error { return f.Cause }

const (
	// connectTimeout bounds the connection attempt.
	connectTimeout = 5 * time.Second
	// loginTimeout bounds the subsequent login and its command.
	loginTimeout = 15 * time.Second
)

// attempt logs in once and runs a no-op. The error is a *Failure, unless the Login itself is invalid.
func (l Login) attempt(ctx context.Context) error {
	signer, err := ssh.ParsePrivateKey([]byte(l.PrivateKey))
	if err != nil {
		return fmt.Errorf("cannot read the private key: %w", err)
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l.HostKey))
	if err != nil {
		return fmt.Errorf("cannot read the host key: %w", err)
	}

	dialer := net.Dialer{Timeout: connectTimeout}
	dialed, err := dialer.DialContext(ctx, "tcp", l.Address)
	if err != nil {
		return &Failure{connectReason(err), err}
	}
	conn := &recordingConn{Conn: dialed}
	// A failed login has already closed the connection.
	defer func() { _ = conn.Close() }()
	deadline := time.Now().Add(loginTimeout)
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline = end
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return &Failure{Unreachable, err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()

	known, mismatch := false, false
	client, channels, requests, err := ssh.NewClientConn(conn, l.Address, &ssh.ClientConfig{
		User: l.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// The command provider does the same.
		HostKeyAlgorithms: []string{hostKey.Type()},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			known = bytes.Equal(key.Marshal(), hostKey.Marshal())
			mismatch = !known
			if mismatch {
				return fmt.Errorf("its key is %s, and should be %s", ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(hostKey))
			}
			return nil
		},
	})
	if err != nil {
		return &Failure{conn.loginReason(err, known, mismatch), err}
	}
	if err := runNoop(ssh.NewClient(client, channels, requests)); err != nil {
		return &Failure{NoCommand, err}
	}
	return nil
}

// runNoop runs a command without effect.
func runNoop(client *ssh.Client) error {
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("cannot open a session: %w", err)
	}
	if err := session.Run("true"); err != nil {
		return fmt.Errorf("cannot run true: %w", err)
	}
	return nil
}

func connectReason(err error) Reason {
	var network net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return NotListening
	case errors.As(err, &network) && network.Timeout():
		return TimesOut
	}
	return Unreachable
}

// loginReason returns why a login failed with err. The server's key was known or a mismatch, or neither if the login
// did not get that far.
func (c *recordingConn) loginReason(err error, known, mismatch bool) Reason {
	var network net.Error
	switch {
	case mismatch, strings.Contains(err.Error(), "no common algorithm for host key"):
		return HostKeyMismatch
	case errors.As(err, &network) && network.Timeout():
		if len(c.first) == 0 {
			return Silent
		}
		return Stalls
	case throttled(c.first):
		return HungUp
	case len(c.first) > 0 && !bytes.HasPrefix(c.first, []byte("SSH-")):
		return NotSSH
	case known && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return Refused
	}
	return HungUp
}

// throttled reports whether an SSH daemon temporarily rejects connections from this machine.
func throttled(first []byte) bool {
	for _, text := range []string{"Exceeded MaxStartups", "Not allowed at this time"} {
		if bytes.HasPrefix(first, []byte(text)) {
			return true
		}
	}
	return false
}

// recordingConn is a connection that records the first bytes that it receives.
type recordingConn struct {
	net.Conn
	first []byte
}

func (c *recordingConn) Read(buffer []byte) (int, error) {
	n, err := c.Conn.Read(buffer)
	if missing := 32 - len(c.first); missing > 0 {
		c.first = append(c.first, buffer[:min(n, missing)]...)
	}
	return n, err
}
