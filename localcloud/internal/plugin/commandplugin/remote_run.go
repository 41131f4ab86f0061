package commandplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"
)

// acceptEnvAdvice is what helps when a server refuses an environment variable.
const acceptEnvAdvice = "the server's sshd must list it in AcceptEnv; " +
	"or write it before the command, as in VAR=value command"

// run runs command, nil for none, on the host, and sets the outputs. When ctx
// ends, the command is sent SIGTERM and the connection is closed.
func (s *RemoteCommandState) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	client, err := s.Connection.dial(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.runOver(ctx, client, *command), ignoreClosed(client.Close()))
}

func (s *RemoteCommandState) runOver(ctx context.Context, client *ssh.Client, command string) error {
	session, err := client.NewSession()
	if err != nil {
		return fmt.Errorf("open an SSH session: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		// The connection may be dead already; its end is what counts.
		_ = session.Signal(ssh.SIGTERM)
		_ = client.Close()
	})
	defer stop()
	if err := s.setEnvironment(ctx, session); err != nil {
		return err
	}
	if s.Stdin != nil {
		session.Stdin = strings.NewReader(*s.Stdin)
	}
	out := newOutput(ctx, s.Logging)
	session.Stdout, session.Stderr = out.stdout, out.stderr

	if err := session.Run(command); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return out.failure(command, err)
	}
	s.CommandOutputs = out.outputs()
	if err := session.Close(); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("close the SSH session: %w", err)
	}
	return nil
}

// setEnvironment sets Environment, which must succeed, and the last run's
// output, which the server may refuse with a warning.
func (s *RemoteCommandState) setEnvironment(ctx context.Context, session *ssh.Session) error {
	if s.Environment != nil {
		for key, value := range *s.Environment {
			if err := session.Setenv(key, value); err != nil {
				return fmt.Errorf("set the environment variable %s (%s): %w", key, acceptEnvAdvice, err)
			}
		}
	}
	for key, value := range s.previousOutput(s.CommandOutputs) {
		if err := session.Setenv(key, value); err != nil {
			p.GetLogger(ctx).Warningf("cannot set %s: %s; %s", key, err, acceptEnvAdvice)
		}
	}
	return nil
}
