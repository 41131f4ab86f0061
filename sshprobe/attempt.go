// Package sshprobe finds out whether a login over SSH is possible, and why not.
//
// Pulumi's command provider, which carries out the remote commands of an update,
// gives no reason for a refused login, and waits without end for a port that
// accepts a connection and says nothing. So the update asks here first.
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
	// HostKey is the only key that is accepted of the server, one line of authorized_keys.
	HostKey string
}

// Reason is why a login is not possible.
type Reason string

// The reasons. What they name is what to look into.
const (
	// NotListening is a refused connection: nothing has the port.
	NotListening Reason = "nothing listens: the server is still booting, or its SSH daemon did not start"
	// TimesOut is a connection that nothing answers: a firewall dropped it.
	TimesOut Reason = "times out: is this machine in sshAllowFrom?"
	// Unreachable is a network error of another kind.
	Unreachable Reason = "cannot connect"
	// Silent is a connection on which no byte arrives: something has the port and hangs.
	Silent Reason = "accepts the connection but says nothing: the SSH daemon or the server hangs"
	// Stalls is a login in which the server answers no more.
	Stalls Reason = "stops answering during the login: the server is overloaded or hangs"
	// HungUp is a connection that the server closes before the login is decided.
	HungUp Reason = "hangs up: the SSH daemon is still starting, or shuts this machine out for a time"
	// NotSSH is an answer of something else than an SSH daemon.
	NotSSH Reason = "answers, but is no SSH daemon: is sshPort right?"
	// HostKeyMismatch is another machine at the address, or the right one with another key.
	HostKeyMismatch Reason = "host key mismatch: another machine answers at this address"
	// Refused is a login that the server does not let in.
	Refused Reason = "login refused: still booting, or the boot failed"
	// NoCommand is a login that is let in but cannot run a command.
	NoCommand Reason = "lets the login in but runs no command"
)

// Failure is a login that is not possible.
type Failure struct {
	Reason Reason
	// Cause is what the network or the SSH client said.
	Cause error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s (%s)", f.Reason, f.Cause) }

func (f *Failure) Unwrap() error { return f.Cause }

const (
	// connectTimeout is how long a connection may take.
	connectTimeout = 5 * time.Second
	// loginTimeout is how long the login may take then, with one command.
	loginTimeout = 15 * time.Second
)

// attempt logs in once and runs a command that does nothing. Its error is a
// *Failure, or one of the login's own values.
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
	// Closed already where the login failed.
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

	known, strange := false, false
	client, channels, requests, err := ssh.NewClientConn(conn, l.Address, &ssh.ClientConfig{
		User: l.User,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		// As the command provider does.
		HostKeyAlgorithms: []string{hostKey.Type()},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			known = bytes.Equal(key.Marshal(), hostKey.Marshal())
			strange = !known
			if strange {
				return fmt.Errorf("its key is %s, and should be %s", ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(hostKey))
			}
			return nil
		},
	})
	if err != nil {
		return &Failure{conn.loginReason(err, known, strange), err}
	}
	if err := runNothing(ssh.NewClient(client, channels, requests)); err != nil {
		return &Failure{NoCommand, err}
	}
	return nil
}

// runNothing runs a command that does nothing.
func runNothing(client *ssh.Client) error {
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	if err := session.Run("true"); err != nil {
		return fmt.Errorf("run true: %w", err)
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

// loginReason is why a login failed with err. The server's key was known or strange, or
// the login did not get as far.
func (c *recordingConn) loginReason(err error, known, strange bool) Reason {
	var network net.Error
	switch {
	case strange, strings.Contains(err.Error(), "no common algorithm for host key"):
		return HostKeyMismatch
	case errors.As(err, &network) && network.Timeout():
		if len(c.first) == 0 {
			return Silent
		}
		return Stalls
	case shutOut(c.first):
		return HungUp
	case len(c.first) > 0 && !bytes.HasPrefix(c.first, []byte("SSH-")):
		return NotSSH
	case known && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET):
		return Refused
	}
	return HungUp
}

// shutOut reports whether an SSH daemon says that it has no time for this machine.
func shutOut(first []byte) bool {
	for _, text := range []string{"Exceeded MaxStartups", "Not allowed at this time"} {
		if bytes.HasPrefix(first, []byte(text)) {
			return true
		}
	}
	return false
}

// recordingConn keeps the first bytes that arrive.
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
