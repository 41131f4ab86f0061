package commandplugin

import (
	"context"
	"fmt"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"
)

// run runs command, nil for none, on the host, and sets the outputs.
//
// As in the real plugin, a command that has begun is waited for until its end,
// whatever becomes of ctx, and the connection stays open until the plugin ends.
func (s *RemoteCommandState) run(ctx context.Context, command *string) (err error) {
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
	defer func() {
		// The session of a command that has ended is closed already: io.EOF.
		_ = session.Close()
	}()
	if err := s.setEnvironment(ctx, session); err != nil {
		return err
	}
	if s.Stdin != nil && *s.Stdin != "" {
		session.Stdin = strings.NewReader(*s.Stdin)
	}
	out := newOutput(ctx, s.Logging)
	session.Stdout, session.Stderr = out.stdout, out.stderr

	err = session.Run(*command)
	out.end()
	if err != nil {
		return out.failure(*command, err)
	}
	s.CommandOutputs = out.outputs()
	return nil
}

// setEnvironment sets Environment, which must succeed, and the last run's
// output, which the server may refuse with a warning.
func (s *RemoteCommandState) setEnvironment(ctx context.Context, session *ssh.Session) error {
	const advice = "Unable to set '%s': the server's sshd must list it in AcceptEnv; " +
		"or write it before the command, as in VAR=value command"
	if s.Environment != nil {
		for key, value := range *s.Environment {
			if err := session.Setenv(key, value); err != nil {
				p.GetLogger(ctx).Errorf(advice, key)
				return fmt.Errorf("could not set environment variable %q: %w", key, err)
			}
		}
	}
	for key, value := range s.previousOutput(s.CommandOutputs) {
		if err := session.Setenv(key, value); err != nil {
			p.GetLogger(ctx).Warningf(advice, key)
		}
	}
	return nil
}
