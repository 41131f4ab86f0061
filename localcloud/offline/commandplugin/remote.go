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

// RemoteCommand is command:remote:Command: commands that run on a host, over
// SSH, when the resource is created, updated and deleted.
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

// Connection says how to reach a host over SSH and how to log in there: by a key in the inputs.
type Connection struct {
	Host       string   `pulumi:"host"`
	Port       *float64 `pulumi:"port,optional"` // a number without fraction
	User       *string  `pulumi:"user,optional"`
	PrivateKey *string  `pulumi:"privateKey,optional" provider:"secret"`
	// HostKey is a line of authorized_keys format: the only key that is
	// accepted of the host. Where it is unset, any key is.
	HostKey *string `pulumi:"hostKey,optional"`
	// DialErrorLimit is how many attempts may fail and be repeated; -1 is any number.
	DialErrorLimit *int `pulumi:"dialErrorLimit,optional"`
	// PerDialTimeout bounds the TCP connect of one attempt, in seconds; 0 does not bound it.
	PerDialTimeout *int `pulumi:"perDialTimeout,optional"`
}

func (c *Connection) Annotate(a infer.Annotator) {
	a.SetDefault(&c.User, "root")
	a.SetDefault(&c.Port, 22)
	a.SetDefault(&c.DialErrorLimit, 10)
	a.SetDefault(&c.PerDialTimeout, 15)
}

// clientConfig is the SSH client's side of one attempt.
//
// A pinned host key is also the only one that the server is asked for. For an RSA key that
// algorithm is ssh-rsa, with SHA-1, as in the real plugin: servers of today refuse it.
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
// As in the real plugin, the end of ctx is seen between two attempts only, and
// PerDialTimeout bounds the TCP connect only: a host that accepts a connection
// and says nothing is waited for without end.
func (c Connection) dial(ctx context.Context) (*ssh.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(c.Host, strconv.Itoa(int(*c.Port)))
	return repeat(ctx, *c.DialErrorLimit, func() (*ssh.Client, error) { return ssh.Dial("tcp", address, config) })
}

// repeat makes attempts, with the back-off of the real plugin, until one succeeds, more than limit
// have failed or ctx ends. The engine shows each failed one without its reason; the reason of the
// last is in the error of a reached limit and nowhere else.
func repeat(ctx context.Context, limit int, attempt func() (*ssh.Client, error)) (*ssh.Client, error) {
	var client *ssh.Client
	shownLimit := strconv.Itoa(limit)
	if limit == -1 {
		shownLimit = "inf"
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
		p.GetLogger(ctx).InfoStatusf("Dial %d/%s failed: retrying", failed, shownLimit)
		return false, nil, nil
	}})
	if err == nil && !connected {
		err = ctx.Err()
	}
	return client, err
}
