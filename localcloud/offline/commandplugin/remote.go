package commandplugin

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// RemoteCommand is command:remote:Command: commands that run on a host, over
// SSH, when the resource is created, updated and deleted.
type RemoteCommand struct {
	lifecycle[RemoteCommandArgs, RemoteCommandState, *RemoteCommandState]
}

type RemoteCommandArgs struct {
	CommandArgs
	// Connection is secret as a whole.
	Connection *Connection `pulumi:"connection" provider:"secret"`
}

type RemoteCommandState struct {
	RemoteCommandArgs
	CommandOutputs
}

// Annotate gives the type the token under which the SDK registers it.
func (c *RemoteCommand) Annotate(a infer.Annotator) { a.SetToken("remote", "Command") }

func (s *RemoteCommandState) set(args RemoteCommandArgs) { s.RemoteCommandArgs = args }

// run runs command, nil for none, on the host, and sets the outputs.
//
// As in the real plugin, a command that has begun is waited for until its end,
// whatever becomes of ctx, and the connection stays open until the plugin ends.
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
		return fmt.Errorf("open an SSH session: %w", err)
	}
	defer func() { _ = session.Close() }() // that of a command that has ended is closed already: io.EOF
	const advice = "Unable to set '%s': the server's sshd must list it in AcceptEnv; " +
		"or write it before the command, as in VAR=value command"
	for key, value := range s.Environment {
		if err := session.Setenv(key, value); err != nil {
			p.GetLogger(ctx).Errorf(advice, key)
			return fmt.Errorf("could not set environment variable %q: %w", key, err)
		}
	}
	for key, value := range s.previousOutput(s.CommandOutputs) {
		if err := session.Setenv(key, value); err != nil {
			p.GetLogger(ctx).Warningf(advice, key)
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

// Connection says how to reach a host over SSH, directly or through a bastion host.
type Connection struct {
	SSHHost
	Proxy *ProxyConnection `pulumi:"proxy,optional"`
}

// ProxyConnection says how to reach a bastion host.
type ProxyConnection struct{ SSHHost }

// SSHHost says how to reach one SSH server and how to log in there.
type SSHHost struct {
	Host string `pulumi:"host"`
	// Port is a number without fraction.
	Port     *float64 `pulumi:"port,optional"`
	User     *string  `pulumi:"user,optional"`
	Password *string  `pulumi:"password,optional" provider:"secret"`
	// PrivateKey is tried before Password.
	PrivateKey         *string `pulumi:"privateKey,optional" provider:"secret"`
	PrivateKeyPassword *string `pulumi:"privateKeyPassword,optional" provider:"secret"`
	// AgentSocketPath is that of an SSH agent, SSH_AUTH_SOCK by default.
	AgentSocketPath *string `pulumi:"agentSocketPath,optional"`
	// HostKey is a line of authorized_keys format: the only key that is
	// accepted of the host. Where it is unset, any key is.
	HostKey *string `pulumi:"hostKey,optional"`
	// DialErrorLimit is how many attempts may fail and be repeated; -1 is any number.
	DialErrorLimit *int `pulumi:"dialErrorLimit,optional"`
	// PerDialTimeout bounds the TCP connect of one attempt, in seconds; 0 does not bound it.
	PerDialTimeout *int `pulumi:"perDialTimeout,optional"`
}

func (c *Connection) Annotate(a infer.Annotator)      { c.annotate(a) }
func (c *ProxyConnection) Annotate(a infer.Annotator) { c.annotate(a) }

func (h *SSHHost) annotate(a infer.Annotator) {
	a.SetDefault(&h.User, "root")
	a.SetDefault(&h.Port, 22)
	a.SetDefault(&h.DialErrorLimit, 10)
	a.SetDefault(&h.PerDialTimeout, 15)
}

func (h SSHHost) address() string { return net.JoinHostPort(h.Host, strconv.Itoa(int(*h.Port))) }

// clientConfig is the SSH client's side of one attempt. The connection to the
// SSH agent, if there is one, stays open until the plugin ends.
//
// A pinned host key is also the only one that the server is asked for. For an RSA key that
// algorithm is ssh-rsa, with SHA-1, as in the real plugin: servers of today refuse it.
func (h SSHHost) clientConfig() (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{
		User: *h.User, Timeout: time.Duration(*h.PerDialTimeout) * time.Second, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
	if h.HostKey != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*h.HostKey))
		if err != nil {
			return nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback, config.HostKeyAlgorithms = ssh.FixedHostKey(key), []string{key.Type()}
	}
	if h.PrivateKey != nil {
		signer, err := ssh.ParsePrivateKey([]byte(*h.PrivateKey))
		if h.PrivateKeyPassword != nil {
			signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(*h.PrivateKey), []byte(*h.PrivateKeyPassword))
		}
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if h.Password != nil {
		// The password answers whatever the server asks.
		config.Auth = append(config.Auth, ssh.Password(*h.Password),
			ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
				return slices.Repeat([]string{*h.Password}, len(questions)), nil
			}))
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if h.AgentSocketPath != nil {
		socket = *h.AgentSocketPath
	} else if socket == "" {
		return config, nil
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("reach the SSH agent: %w", err)
	}
	config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	return config, nil
}

// dial logs in to the host, directly or through the bastion host.
//
// As in the real plugin, the end of ctx is seen between two attempts only, and
// PerDialTimeout bounds the TCP connect only: a host that accepts a connection
// and says nothing is waited for without end. The bastion's connection stays
// open until the plugin ends.
func (c Connection) dial(ctx context.Context) (*ssh.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	if c.Proxy == nil {
		return c.attempts(ctx, "Dial", config)
	}
	client, err := c.dialThroughProxy(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return client, nil
}

func (h SSHHost) attempts(ctx context.Context, action string, config *ssh.ClientConfig) (*ssh.Client, error) {
	return repeat(ctx, action, *h.DialErrorLimit, func() (*ssh.Client, error) {
		return ssh.Dial("tcp", h.address(), config)
	})
}

// dialThroughProxy logs in to the bastion host and from there to the host. A
// refused login to the host is repeated over the connection that it ended, so
// it never succeeds: a defect of the real plugin.
func (c Connection) dialThroughProxy(ctx context.Context, config *ssh.ClientConfig) (*ssh.Client, error) {
	proxyConfig, err := c.Proxy.clientConfig()
	if err != nil {
		return nil, err
	}
	bastion, err := c.Proxy.attempts(ctx, "Dial proxy", proxyConfig)
	if err != nil {
		return nil, err
	}
	conn, err := repeat(ctx, "Dial from proxy", *c.DialErrorLimit, func() (net.Conn, error) {
		return bastion.Dial("tcp", c.address())
	})
	if err != nil {
		return nil, err
	}
	return repeat(ctx, "Dial", *c.DialErrorLimit, func() (*ssh.Client, error) {
		client, channels, requests, err := ssh.NewClientConn(conn, c.address(), config)
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(client, channels, requests), nil
	})
}

// repeat makes attempts, with the back-off of the real plugin, until one
// succeeds, more than limit have failed or ctx ends. The engine shows each
// failed one, which action begins, without its reason; the reason of the last
// is in the error of a reached limit and nowhere else.
func repeat[T any](ctx context.Context, action string, limit int, attempt func() (T, error)) (T, error) {
	var result T
	shownLimit := strconv.Itoa(limit)
	if limit == -1 {
		shownLimit = "inf"
	}
	connected, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(before int, _ time.Duration) (bool, any, error) {
		var err error
		if result, err = attempt(); err == nil {
			return true, nil, nil
		}
		failed := before + 1
		if limit > -1 && failed > limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", before, err)
		}
		p.GetLogger(ctx).InfoStatusf("%s %d/%s failed: retrying", action, failed, shownLimit)
		return false, nil, nil
	}})
	if err == nil && !connected {
		err = ctx.Err()
	}
	return result, err
}
