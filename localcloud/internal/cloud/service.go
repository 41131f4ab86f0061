package cloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	httpsPort    = 443
	startTimeout = 30 * time.Second
	pollInterval = 100 * time.Millisecond
)

type service struct {
	role    string
	address netip.Addr
	// port is the TCP port that accepts connections once the service is ready. Default: 443.
	port uint16
	// hosts are the names in the service's certificate (see Certificate). Without hosts, it gets no certificate.
	hosts       []string
	mounts      []string
	environment []string
	command     []string
	config      string // other content that the service depends on: a change restarts it
}

// spec returns a hash of the service's settings.
func (s service) spec() string {
	sum := sha256.Sum256(fmt.Appendf(nil,
		"%v %d %q %q %q %q", s.address, s.port, s.mounts, s.environment, s.command, s.config))
	return hex.EncodeToString(sum[:8])
}

// startBuiltin starts a service that localcloud implements, by the verb that is named like its role.
func (l *Local) startBuiltin(ctx context.Context, s service) error {
	s.mounts = append(s.mounts, l.home.Executable()+":"+program+":ro")
	s.command = []string{program, s.role}
	return l.startService(ctx, s)
}

// startService starts a service, or restarts it if its settings changed, and waits until it accepts connections.
func (l *Local) startService(ctx context.Context, s service) error {
	if s.port == 0 {
		s.port = httpsPort
	}
	if err := l.certify(&s); err != nil {
		return err
	}
	// Pass secrets in a file, not on the command line.
	environment := filepath.Join(l.home.Cloud(), s.role+".env")
	if err := state.WriteFile(environment, []byte(strings.Join(append(s.environment, ""), "\n")), 0o600); err != nil {
		return err
	}
	options := []string{"--hostname", s.role, "--network", network, "--ip", s.address.String(),
		"--restart", "unless-stopped", "--env-file", environment}
	for _, mount := range s.mounts {
		options = append(options, "--volume", mount)
	}
	name := network + "-" + s.role
	options = append(options, l.labels(labelRole, s.role)...)
	if _, err := l.ensureContainer(ctx, name, s.spec(), options, s.command...); err != nil {
		return err
	}
	var dialer net.Dialer
	return l.await(ctx, name, func(ctx context.Context) error {
		connection, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(s.address, s.port).String())
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

// ensureContainer starts a container of the gateway image under the given name, unless a container with that name
// and spec is running. It reports whether it started the container.
func (l *Local) ensureContainer(
	ctx context.Context, name, spec string, options []string, command ...string,
) (started bool, err error) {
	current, err := l.docker.Inspect(ctx, name)
	if err != nil && !errors.Is(err, dockerd.ErrNoContainer) {
		return false, err
	}
	if current.State.Running && current.Config.Labels[labelSpec] == spec {
		return false, nil
	}
	if err := l.docker.Remove(ctx, name); err != nil {
		return false, err
	}
	tag, err := l.gatewayImage(ctx)
	if err != nil {
		return false, err
	}
	args := []string{"run", "--detach", "--name", name, "--label", labelSpec + "=" + spec}
	_, err = l.docker.Run(ctx, slices.Concat(args, options, []string{tag}, command)...)
	return true, err
}

// await polls a container until probe succeeds. The error includes the end of the container's log.
func (l *Local) await(ctx context.Context, name string, probe func(context.Context) error) error {
	err := run.Await(ctx, startTimeout, pollInterval, probe)
	if err == nil {
		return nil
	}
	logs, logsErr := l.docker.Run(context.WithoutCancel(ctx), "logs", "--tail", "10", name)
	return errors.Join(fmt.Errorf("%s does not respond: %w\n%s", name, err, logs), logsErr)
}

func (l *Local) certify(s *service) error {
	if len(s.hosts) == 0 {
		return nil
	}
	authority, err := l.authority()
	if err != nil {
		return err
	}
	certificate, key, err := authority.Issue(s.role, s.hosts, []net.IP{s.address.AsSlice()})
	if err != nil {
		return err
	}
	if err := authority.Verify(certificate, s.hosts[0]); err != nil {
		return fmt.Errorf("an older localcloud created the certificate authority, which cannot certify %s; "+
			"run `make down`, then `make up`: %w", s.hosts[0], err)
	}
	s.mounts = append(s.mounts, certificate+":"+Certificate(s.role)+":ro", key+":"+CertificateKey(s.role)+":ro")
	return nil
}
