package cloud

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/image"
)

const (
	s3Container       = network + "-s3"
	registryContainer = network + "-registry"
	httpsPort         = 443
	startTimeout      = 30 * time.Second
	pollInterval      = 100 * time.Millisecond
)

// rootAccount is the S3 server's own account.
type rootAccount struct {
	AccessKeyID     string
	SecretAccessKey string
}

// S3 says how the S3 server is reached, running or not.
func (l *Local) S3() (S3, error) {
	var root rootAccount
	err := home.ReadJSON(l.rootAccountFile(), &root)
	if errors.Is(err, fs.ErrNotExist) {
		return S3{}, errors.New("the local cloud has no S3 server yet: start it with `make up`")
	}
	if err != nil {
		return S3{}, fmt.Errorf("S3 server: %w", err)
	}
	authority, err := l.authority()
	if err != nil {
		return S3{}, err
	}
	return S3{
		Endpoint:        "https://" + s3Address().String(),
		Region:          Region,
		CAFile:          authority.CertificateFile(),
		AccessKeyID:     root.AccessKeyID,
		SecretAccessKey: root.SecretAccessKey,
	}, nil
}

// StartS3 starts the S3 server and waits until it answers.
func (l *Local) StartS3(ctx context.Context) error {
	root, err := l.ensureRootAccount()
	if err != nil {
		return fmt.Errorf("S3 server: %w", err)
	}
	for _, dir := range []string{"data", "versions", "iam"} {
		if err := os.MkdirAll(filepath.Join(l.home.S3(), dir), 0o700); err != nil {
			return fmt.Errorf("S3 server: %w", err)
		}
	}
	domain := "s3." + Region + ".amazonaws.com"
	// Secrets go by the environment of the docker command, not by its command line.
	return l.startService(ctx, service{
		name: s3Container, role: roleS3, address: s3Address(), port: httpsPort, hosts: []string{domain, "*." + domain},
		mounts: []string{
			filepath.Join(l.home.Bin(), "versitygw") + ":/versitygw:ro",
			l.home.S3() + ":/s3",
		},
		environment: []string{"ROOT_ACCESS_KEY=" + root.AccessKeyID, "ROOT_SECRET_KEY=" + root.SecretAccessKey},
		command: []string{
			"/versitygw", "--port", ":443", "--cert", "/tls/s3.pem", "--key", "/tls/s3.key",
			"--region", Region, "--virtual-domain", domain, "--iam-dir", "/s3/iam", "--quiet",
			"posix", "--versioning-dir", "/s3/versions", "/s3/data",
		},
	})
}

// StartRegistry starts the registry and waits until it answers.
func (l *Local) StartRegistry(ctx context.Context) error {
	minbase, err := l.builder.Archive(ctx, image.Minbase())
	if err != nil {
		return err
	}
	traefik, err := l.traefikLayer(ctx)
	if err != nil {
		return err
	}
	return l.startService(ctx, service{
		name: registryContainer, role: roleRegistry, address: registryAddress(), port: httpsPort, hosts: []string{"registry-1.docker.io"},
		mounts: []string{
			l.home.Executable() + ":" + program + ":ro",
			minbase + ":/minbase.tar.gz:ro",
			traefik + ":/traefik.tar.gz:ro",
		},
		command: []string{program, "registry",
			"-minbase", "/minbase.tar.gz", "-traefik", "/traefik.tar.gz", "-architecture", runtime.GOARCH,
			"-certificate", "/tls/registry.pem", "-key", "/tls/registry.key"},
	})
}

// PackTraefik makes the layer of the Traefik image that StartRegistry serves,
// if the cache has none of the Traefik in the home's bin directory.
func (l *Local) PackTraefik(ctx context.Context) error {
	_, err := l.traefikLayer(ctx)
	return err
}

func (l *Local) traefikLayer(ctx context.Context) (string, error) {
	return l.builder.Layer(ctx, image.Traefik(filepath.Join(l.home.Bin(), "traefik")))
}

// service is a container on localcloud's network.
type service struct {
	name, role string
	address    netip.Addr
	// port is a TCP port on which it accepts connections when it is ready.
	port uint16
	// hosts are the names in the certificate by which it speaks TLS, at /tls/ROLE.pem,
	// with its key at /tls/ROLE.key. Without any it has none.
	hosts       []string
	mounts      []string
	environment []string
	command     []string
	// config is the content of its configuration file, if it reads one that the
	// rest does not tell.
	config string
}

// startService starts a service, anew when it does not run as described, and
// waits until it accepts connections.
func (l *Local) startService(ctx context.Context, s service) error {
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	if err := l.certify(&s); err != nil {
		return err
	}
	current, err := docker.Inspect(ctx, s.name)
	if err != nil && !errors.Is(err, engine.ErrNoContainer) {
		return err
	}
	spec := s.spec()
	if !current.State.Running || current.Config.Labels[labelSpec] != spec {
		if err := docker.Remove(ctx, s.name); err != nil {
			return err
		}
		tag, err := l.gatewayImage(ctx, docker)
		if err != nil {
			return err
		}
		args := []string{"run", "--detach", "--name", s.name, "--hostname", s.role, "--network", network,
			"--ip", s.address.String(), "--restart", "unless-stopped"}
		args = append(args, l.labels(labelRole, s.role, labelSpec, spec)...)
		for _, mount := range s.mounts {
			args = append(args, "--volume", mount)
		}
		environment, err := l.environmentFile(s)
		if err != nil {
			return err
		}
		args = append(args, "--env-file", environment, tag)
		if _, err := docker.Run(ctx, append(args, s.command...)...); err != nil {
			return err
		}
	}
	if err := awaitPort(ctx, netip.AddrPortFrom(s.address, s.port)); err != nil {
		logs, logsErr := docker.Run(ctx, "logs", "--tail", "10", s.name)
		return errors.Join(fmt.Errorf("%s does not answer: %w\n%s", s.name, err, logs), logsErr)
	}
	return nil
}

// certify gives a service the certificate for its hosts.
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
		return fmt.Errorf("the local cloud was started by an older localcloud, and its certificate authority may not vouch for %s; "+
			"run `make down`, then `make up`: %w", s.hosts[0], err)
	}
	s.mounts = append(s.mounts, certificate+":/tls/"+s.role+".pem:ro", key+":/tls/"+s.role+".key:ro")
	return nil
}

// spec tells two descriptions of a service apart.
func (s service) spec() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%v %d %q %q %q %q", s.address, s.port, s.mounts, s.environment, s.command, s.config))
	return hex.EncodeToString(sum[:8])
}

func (l *Local) environmentFile(s service) (string, error) {
	path := filepath.Join(l.home.Cloud(), s.role+".env")
	var text []byte
	for _, line := range s.environment {
		text = append(append(text, line...), '\n')
	}
	return path, home.WriteFile(path, text, 0o600)
}

// awaitPort waits until something accepts connections.
func awaitPort(ctx context.Context, address netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	var dialer net.Dialer
	for {
		connection, err := dialer.DialContext(ctx, "tcp", address.String())
		if err == nil {
			return connection.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-poll.C:
		}
	}
}

func (l *Local) ensureRootAccount() (rootAccount, error) {
	var root rootAccount
	err := home.ReadJSON(l.rootAccountFile(), &root)
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	root = rootAccount{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()}
	return root, home.WriteJSON(l.rootAccountFile(), root)
}

func (l *Local) rootAccountFile() string { return filepath.Join(l.home.S3(), "root.json") }
