package commandplugin

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pkg/sftp"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// sshServer is an SSH server on the loopback interface that runs commands with /bin/sh, serves SFTP, and accepts
// environment variables whose names begin with ALLOWED.
type sshServer struct {
	t        *testing.T
	listener net.Listener
	config   *ssh.ServerConfig
	hostKey  ssh.Signer
	// clientKey is the PEM private key that can log in as "admin".
	clientKey string
	// hangUps is how many more connections the server closes immediately, and refusals how many more logins it refuses.
	hangUps, refusals atomic.Int32
	// logins counts successful logins, open those whose connection is still open, and commandsEnded the commands that
	// have ended.
	logins, open, commandsEnded atomic.Int32
}

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

func startSSHServer(t *testing.T) *sshServer {
	t.Helper()
	server := &sshServer{t: t}
	server.hostKey, _ = newKey(t)
	client, clientKey := newKey(t)
	server.clientKey = clientKey
	server.config = &ssh.ServerConfig{
		PublicKeyCallback: func(user ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if server.refusals.Add(-1) >= 0 || user.User() != "admin" ||
				!bytes.Equal(key.Marshal(), client.PublicKey().Marshal()) {
				return nil, errors.New("refused")
			}
			return &ssh.Permissions{}, nil
		},
	}
	server.config.AddHostKey(server.hostKey)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server.listener = listener
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	go server.serve(t.Context())
	return server
}

// connection returns the connection input that logs in to the server.
func (s *sshServer) connection() map[string]property.Value {
	return map[string]property.Value{
		"host":       str("127.0.0.1"),
		"port":       property.New(float64(s.listener.Addr().(*net.TCPAddr).Port)),
		"user":       str("admin"),
		"privateKey": str(s.clientKey),
		"hostKey":    str(string(ssh.MarshalAuthorizedKey(s.hostKey.PublicKey()))),
	}
}

func (s *sshServer) serve(ctx context.Context) {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if s.hangUps.Add(-1) >= 0 {
			_ = conn.Close()
			continue
		}
		go s.serveConn(ctx, conn)
	}
}

func (s *sshServer) serveConn(ctx context.Context, conn net.Conn) {
	_, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		_ = conn.Close()
		return
	}
	s.logins.Add(1)
	s.open.Add(1)
	defer s.open.Add(-1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go ssh.DiscardRequests(requests)
	for opened := range channels {
		channel, requests, err := opened.Accept()
		if err != nil {
			return
		}
		go s.serveSession(ctx, channel, requests)
	}
}

func (s *sshServer) serveSession(ctx context.Context, channel ssh.Channel, requests <-chan *ssh.Request) {
	var environment []string
	for request := range requests {
		switch request.Type {
		case "env":
			var variable struct{ Name, Value string }
			err := ssh.Unmarshal(request.Payload, &variable)
			accepted := err == nil && strings.HasPrefix(variable.Name, "ALLOWED")
			if accepted {
				environment = append(environment, variable.Name+"="+variable.Value)
			}
			_ = request.Reply(accepted, nil)
		case "exec":
			var command struct{ Line string }
			_ = request.Reply(ssh.Unmarshal(request.Payload, &command) == nil, nil)
			go s.runForClient(ctx, channel, command.Line, environment)
		case "subsystem":
			_ = request.Reply(true, nil)
			go func() {
				server, err := sftp.NewServer(channel)
				if err == nil {
					_ = server.Serve()
				}
				_ = channel.Close()
			}()
		default:
			_ = request.Reply(false, nil)
		}
	}
}

// runForClient runs a command line, and kills it if the connection ends.
func (s *sshServer) runForClient(ctx context.Context, channel ssh.Channel, line string, environment []string) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", line)
	cmd.Env = environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = channel, channel, channel.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	status := struct{ Status uint32 }{}
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		status.Status = uint32(exit.ExitCode())
	}
	s.commandsEnded.Add(1)
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(&status))
	_ = channel.Close()
}
