package sshprobe

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	return signer, string(pem.EncodeToMemory(block))
}

// listen calls serve for each connection, and returns the address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr().String()
}

// server is an SSH server that accepts one key.
type server struct {
	host ssh.Signer
	// refusals is how many more logins are refused. noCommands makes the server reject commands.
	refusals   atomic.Int32
	noCommands bool
	Login
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{}
	host, _ := newKey(t)
	client, private := newKey(t)
	s.host = host
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(user ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if s.refusals.Load() > 0 || user.User() != "bootstrap" || !bytes.Equal(key.Marshal(), client.PublicKey().Marshal()) {
				s.refusals.Add(-1)
				return nil, errors.New("refused")
			}
			return &ssh.Permissions{}, nil
		},
	}
	config.AddHostKey(host)
	s.Login = Login{
		Address:    listen(t, func(conn net.Conn) { s.serve(conn, config) }),
		User:       "bootstrap",
		PrivateKey: private,
		HostKey:    string(ssh.MarshalAuthorizedKey(host.PublicKey())),
	}
	return s
}

func (s *server) serve(conn net.Conn, config *ssh.ServerConfig) {
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		_ = conn.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	for opened := range channels {
		if s.noCommands {
			_ = opened.Reject(ssh.Prohibited, "no")
			continue
		}
		channel, requests, err := opened.Accept()
		if err != nil {
			return
		}
		for request := range requests {
			_ = request.Reply(request.Type == "exec", nil)
			_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{}))
			_ = channel.Close()
		}
	}
}

// reports collects the reports of Wait.
type reports struct {
	mutex sync.Mutex
	lines []string
}

func (r *reports) add(line string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.lines = append(r.lines, line)
}

func (r *reports) all() []string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return slices.Clone(r.lines)
}

func TestSuccessfulLoginIsNotReported(t *testing.T) {
	var reported reports
	require.NoError(t, newServer(t).Wait(t.Context(), time.Minute, reported.add))
	require.Empty(t, reported.all())
}

func TestWaitSucceedsWhenTheServerHasBooted(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	server.refusals.Store(2)
	var reported reports
	require.NoError(t, server.Wait(t.Context(), time.Minute, reported.add))
	require.Len(t, reported.all(), 1, "the same reason is not repeated each second")
	require.Contains(t, reported.all()[0], " after 0 s: login refused: still booting")
}

func TestEachReasonIsReportedInTime(t *testing.T) {
	other, _ := newKey(t)
	for name, test := range map[string]struct {
		login func(*testing.T) Login
		want  Reason
		cause string
	}{
		"nothing listens": {func(t *testing.T) Login {
			login := newServer(t).Login
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			login.Address = listener.Addr().String()
			require.NoError(t, listener.Close())
			return login
		}, NotListening, "connection refused"},
		"a firewall drops the connection": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = dropping(t)
			return login
		}, TimesOut, "timeout"},
		"an address of no machine": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = "255.255.255.255:22"
			return login
		}, Unreachable, "connect: "},
		"a port that accepts and says nothing": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = listen(t, func(net.Conn) {})
			return login
		}, Silent, "timeout"},
		"a server that stops in the middle": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = listen(t, say("SSH-2.0-x\r\n"))
			return login
		}, Stalls, "timeout"},
		"a server that hangs up at once": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = listen(t, func(conn net.Conn) { _ = conn.Close() })
			return login
		}, HungUp, "handshake failed"},
		"a daemon that throttles this machine": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = listen(t, func(conn net.Conn) { say("Not allowed at this time\r\n")(conn); _ = conn.Close() })
			return login
		}, HungUp, ""},
		"a web server": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.Address = listen(t, func(conn net.Conn) { say("HTTP/1.1 400 Bad Request\r\n\r\n")(conn); _ = conn.Close() })
			return login
		}, NotSSH, ""},
		"another host key": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.HostKey = string(ssh.MarshalAuthorizedKey(other.PublicKey()))
			return login
		}, HostKeyMismatch, "and should be " + ssh.FingerprintSHA256(other.PublicKey())},
		"a host key of another kind": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.HostKey = "ecdsa-sha2-nistp256 " +
				"AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrY" +
				"MjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg="
			return login
		}, HostKeyMismatch, "no common algorithm for host key"},
		"a login that is refused": {func(t *testing.T) Login {
			login := newServer(t).Login
			login.User = "stranger"
			return login
		}, Refused, "unable to authenticate"},
		"a login that runs nothing": {func(t *testing.T) Login {
			server := newServer(t)
			server.noCommands = true
			return server.Login
		}, NoCommand, "open a session"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			login := test.login(t)
			var reported reports
			begin := time.Now()
			err := login.Wait(t.Context(), 500*time.Millisecond, reported.add)
			var failure *Failure
			require.ErrorAs(t, err, &failure)
			require.Equal(t, test.want, failure.Reason, failure.Cause)
			require.ErrorContains(t, err,
				"cannot log in to "+login.Address+" as "+login.User+" within 500ms: "+string(test.want))
			require.ErrorContains(t, err, test.cause)
			require.Less(t, time.Since(begin), 5*time.Second)
			require.Len(t, reported.all(), 1)
			require.NotContains(t, err.Error()+reported.all()[0], "PRIVATE KEY")
		})
	}
}

// say returns a function that writes text to a connection and keeps it open.
func say(text string) func(net.Conn) {
	return func(conn net.Conn) { _, _ = conn.Write([]byte(text)) }
}

// dropping returns an address at which connection attempts get no response: earlier connections fill the backlog.
func dropping(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Close(socket)) })
	require.NoError(t, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(socket, 0))
	name, err := syscall.Getsockname(socket)
	require.NoError(t, err)
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	for range 4 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
	}
	require.Fail(t, "the backlog does not fill")
	return ""
}

func TestInvalidKeyFailsImmediately(t *testing.T) {
	server := newServer(t)
	for name, login := range map[string]Login{
		"private key": {Address: server.Address, User: "x", PrivateKey: "garbage", HostKey: server.HostKey},
		"host key":    {Address: server.Address, User: "x", PrivateKey: server.PrivateKey, HostKey: "garbage"},
	} {
		var reported reports
		err := login.Wait(t.Context(), time.Minute, reported.add)
		require.ErrorContains(t, err, "cannot read the "+name)
		require.Empty(t, reported.all())
	}
}

func TestAnInterruptEndsTheWaitWithTheReason(t *testing.T) {
	t.Parallel()
	accepted := make(chan struct{}, 10)
	login := newServer(t).Login
	login.Address = listen(t, func(conn net.Conn) {
		// The client has started its login.
		_, _ = conn.Read(make([]byte, 1))
		accepted <- struct{}{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- login.Wait(ctx, time.Minute, func(string) {}) }()
	<-accepted
	cancel()
	err := <-ended
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "says nothing")
}

func TestAChangedReasonIsReported(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	login := newServer(t).Login
	login.Address = listen(t, func(conn net.Conn) {
		if connections.Add(1) > 1 {
			say("220 mail\r\n")(conn)
		}
		_ = conn.Close()
	})
	var reported reports
	require.Error(t, login.Wait(t.Context(), 1500*time.Millisecond, reported.add))
	lines := reported.all()
	require.Len(t, lines, 2, strings.Join(lines, "\n"))
	require.Contains(t, lines[0], string(HungUp))
	require.Contains(t, lines[1], " after 1 s: "+string(NotSSH))
}

func TestAttemptCutOffByTheTimeoutDoesNotHideTheReason(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	login := newServer(t).Login
	login.Address = listen(t, func(conn net.Conn) {
		if connections.Add(1) == 1 {
			_ = conn.Close()
		}
	})
	// The second attempt, a second later, is cut off by the timeout.
	err := login.Wait(t.Context(), 1300*time.Millisecond, func(string) {})
	var failure *Failure
	require.ErrorAs(t, err, &failure)
	require.Equal(t, HungUp, failure.Reason)
	require.EqualValues(t, 2, connections.Load())
}
