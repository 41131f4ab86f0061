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
	// port is a TCP port on which it accepts connections when it is ready. Default: that of HTTPS.
	port uint16
	// hosts are the names in its certificate: see Certificate. Without any it has none.
	hosts       []string
	mounts      []string
	environment []string
	command     []string
	config      string // what else it depends on: a change of it restarts the service
}

// spec tells two descriptions of a service apart.
func (s service) spec() string {
	sum := sha256.Sum256(fmt.Appendf(nil,
		"%v %d %q %q %q %q", s.address, s.port, s.mounts, s.environment, s.command, s.config))
	return hex.EncodeToString(sum[:8])
}

// startOwn starts a service that is localcloud itself, under the verb of its role.
func (l *Local) startOwn(ctx context.Context, s service) error {
	s.mounts = append(s.mounts, l.home.Executable()+":"+program+":ro")
	s.command = []string{program, s.role}
	return l.startService(ctx, s)
}

// startService starts a service, or restarts it when it does not run as described, and waits until
// it accepts connections.
func (l *Local) startService(ctx context.Context, s service) error {
	if s.port == 0 {
		s.port = httpsPort
	}
	if err := l.certify(&s); err != nil {
		return err
	}
	// Secrets go by a file, not by the command line.
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
	if _, err := l.keep(ctx, name, s.spec(), append(options, l.labels(labelRole, s.role)...), s.command...); err != nil {
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

// keep starts a container of the gateway's image under a name, unless one runs there with the
// same spec. It reports whether it started one.
func (l *Local) keep(ctx context.Context, name, spec string, options []string, command ...string) (bool, error) {
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

// await waits until a container answers. Its error has the container's last words.
func (l *Local) await(ctx context.Context, name string, answers func(context.Context) error) error {
	err := run.Await(ctx, startTimeout, pollInterval, answers)
	if err == nil {
		return nil
	}
	logs, logsErr := l.docker.Run(context.WithoutCancel(ctx), "logs", "--tail", "10", name)
	return errors.Join(fmt.Errorf("%s does not answer: %w\n%s", name, err, logs), logsErr)
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
		return fmt.Errorf("the local cloud was started by an older localcloud, and its certificate authority may not "+
			"certify %s; run `make down`, then `make up`: %w", s.hosts[0], err)
	}
	s.mounts = append(s.mounts, certificate+":"+Certificate(s.role)+":ro", key+":"+CertificateKey(s.role)+":ro")
	return nil
}
