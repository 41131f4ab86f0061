package commandplugin

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
)

// RemoteCommand is command:remote:Command, which runs commands on a host over SSH when the resource is created, updated
// and deleted.
type RemoteCommand struct {
	lifecycle[RemoteCommandArgs, RemoteCommandState, *RemoteCommandState]
}

type RemoteCommandArgs struct {
	CommandArgs
	Connection *Connection `pulumi:"connection" provider:"secret"` // secret as a whole
}

type RemoteCommandState struct {
	RemoteCommandArgs
	CommandOutputs
}

func (c *RemoteCommand) Annotate(a infer.Annotator) { a.SetToken("remote", "Command") }

func (s *RemoteCommandState) set(args RemoteCommandArgs) { s.RemoteCommandArgs = args }

// run runs command on the host, unless it is nil, and sets the outputs.
//
// As in the real plugin, run waits for a command that has begun even if ctx is canceled, and the connection stays open
// until the plugin exits.
func (s *RemoteCommandState) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	client, err := s.Connection.dial(ctx)
	if err != nil {
		return err
	}
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("cannot open an SSH session: %w", err)
	}
	defer func() { _ = session.Close() }() // returns io.EOF after the command has ended
	const hint = "Unable to set '%s': the server's sshd must list it in AcceptEnv; " +
		"or write it before the command, as in VAR=value command"
	for key, value := range s.Environment {
		if err := session.Setenv(key, value); err != nil {
			p.GetLogger(ctx).Errorf(hint, key)
			return fmt.Errorf("could not set environment variable %q: %w", key, err)
		}
	}
	for key, value := range s.previousOutput(s.CommandOutputs) {
		if err := session.Setenv(key, value); err != nil {
			p.GetLogger(ctx).Warningf(hint, key)
		}
	}
	if s.Stdin != nil && *s.Stdin != "" {
		session.Stdin = strings.NewReader(*s.Stdin)
	}
	out := newOutput(ctx, s.Logging)
	session.Stdout, session.Stderr = out.stdout, out.stderr
	outputs, err := out.finish(*command, session.Run(*command))
	if err == nil {
		s.CommandOutputs = outputs
	}
	return err
}

// Connection describes how to reach a host over SSH and how to log in, with a private key from the inputs.
type Connection struct {
	Host       string   `pulumi:"host"`
	Port       *float64 `pulumi:"port,optional"` // an integer
	User       *string  `pulumi:"user,optional"`
	PrivateKey *string  `pulumi:"privateKey,optional" provider:"secret"`
	// HostKey is the only accepted host key, as a line in the format of authorized_keys. Default: any key.
	HostKey *string `pulumi:"hostKey,optional"`
	// DialErrorLimit is the number of failed attempts that are retried; -1 means no limit.
	DialErrorLimit *int `pulumi:"dialErrorLimit,optional"`
	// PerDialTimeout limits the TCP connect of one attempt, in seconds; 0 means no limit.
	PerDialTimeout *int `pulumi:"perDialTimeout,optional"`
}

func (c *Connection) Annotate(a infer.Annotator) {
	a.SetDefault(&c.User, "root")
	a.SetDefault(&c.Port, 22)
	a.SetDefault(&c.DialErrorLimit, 10)
	a.SetDefault(&c.PerDialTimeout, 15)
}

// clientConfig returns the SSH client configuration for one attempt.
//
// With a pinned host key, the client offers only the algorithm of that key. As in the real plugin, the algorithm for an
// RSA key is ssh-rsa with SHA-1, which current servers reject.
func (c Connection) clientConfig() (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{
		User: *c.User, Timeout: time.Duration(*c.PerDialTimeout) * time.Second, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
	if c.HostKey != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*c.HostKey))
		if err != nil {
			return nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback, config.HostKeyAlgorithms = ssh.FixedHostKey(key), []string{key.Type()}
	}
	if c.PrivateKey != nil {
		signer, err := ssh.ParsePrivateKey([]byte(*c.PrivateKey))
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	return config, nil
}

// dial logs in to the host.
//
// As in the real plugin, ctx is checked only between two attempts, and PerDialTimeout limits only the TCP connect: dial
// waits forever for a host that accepts the connection and sends nothing.
func (c Connection) dial(ctx context.Context) (*ssh.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(c.Host, strconv.Itoa(int(*c.Port)))
	return retryDial(ctx, *c.DialErrorLimit, func() (*ssh.Client, error) { return ssh.Dial("tcp", address, config) })
}

// retryDial calls attempt with the backoff of the real plugin until it succeeds, more than limit attempts have failed,
// or ctx is done. The engine shows each failed attempt without the reason. Only the error for an exceeded limit
// contains a reason: that of the last attempt.
func retryDial(ctx context.Context, limit int, attempt func() (*ssh.Client, error)) (*ssh.Client, error) {
	var client *ssh.Client
	limitText := strconv.Itoa(limit)
	if limit == -1 {
		limitText = "inf"
	}
	connected, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(before int, _ time.Duration) (bool, any, error) {
		var err error
		if client, err = attempt(); err == nil {
			return true, nil, nil
		}
		failed := before + 1
		if limit > -1 && failed > limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", before, err)
		}
		p.GetLogger(ctx).InfoStatusf("Dial %d/%s failed: retrying", failed, limitText)
		return false, nil, nil
	}})
	if err == nil && !connected {
		err = ctx.Err()
	}
	return client, err
}
