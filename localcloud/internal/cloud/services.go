package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/state"
	"immutable-infra/localcloud/offline"
	"immutable-infra/localcloud/offline/registry"
)

// The files and environment variables in the services' containers. The services have no other settings.
const (
	DataDir      = "/data"           // a service's own directory
	BaseLayer    = "/minbase.tar.gz" // the base layer of the registry's images
	TraefikLayer = "/traefik.tar.gz" // the layer that adds Traefik

	RootKeyVariable              = "ROOT_ACCESS_KEY"       // the id of the administrator's access key
	RootSecretVariable           = "ROOT_SECRET_KEY"       // the secret of that access key
	VictorOpsKeyVariable         = "VICTOROPS_KEY"         // the API key of the VictorOps double
	UptimeRobotKeyVariable       = "UPTIMEROBOT_KEY"       // the API key of the UptimeRobot double
	UptimeRobotHeartbeatVariable = "UPTIMEROBOT_HEARTBEAT" // the token of the account's heartbeat monitor

	// VictorOpsKey and UptimeRobotKey are not secret: only the doubles accept them.
	VictorOpsKey   = "b0d7a4c2-5e0f-4c57-9c63-10ca1c10bd00"
	UptimeRobotKey = "u1000001-10ca1c10bd00000000000001"
	// UptimeRobotHeartbeat is part of the heartbeat monitor's URL in Pulumi.local.yaml.
	UptimeRobotHeartbeat = "m800000001-10ca1c10bd00000000000001"
)

// Certificate and CertificateKey return the paths of the PEM files for TLS in a service's container.
func Certificate(role string) string    { return "/tls/" + role + ".pem" }
func CertificateKey(role string) string { return "/tls/" + role + ".key" }

// NameServer returns the address and port of the zone's name server.
func NameServer() netip.AddrPort { return netip.AddrPortFrom(DNSAddress(), dnsPort) }

// AWSAPIEndpoint returns the URL of the KMS, STS and EC2 double, as used from this machine.
func AWSAPIEndpoint() string { return "https://" + awsAPIAddress().String() }

type rootAccount struct{ AccessKeyID, SecretAccessKey string }

func (r rootAccount) environment() []string {
	return []string{RootKeyVariable + "=" + r.AccessKeyID, RootSecretVariable + "=" + r.SecretAccessKey}
}

func (l *Local) rootAccountFile() string { return filepath.Join(l.home.S3(), "root.json") }

func (l *Local) ensureRootAccount() (rootAccount, error) {
	var root rootAccount
	err := state.ReadJSON(l.rootAccountFile(), &root)
	if errors.Is(err, fs.ErrNotExist) {
		root = rootAccount{AccessKeyID: "AKIA" + rand.Text()[:16], SecretAccessKey: rand.Text() + rand.Text()}
		err = state.WriteJSON(l.rootAccountFile(), root)
	}
	return root, err
}

// S3 returns the S3 server's endpoint and root account, whether or not the server is running.
func (l *Local) S3() (S3, error) {
	var root rootAccount
	err := state.ReadJSON(l.rootAccountFile(), &root)
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
		Endpoint: "https://" + S3Address().String(), Region: Region, CAFile: authority.CertificateFile(),
		AccessKeyID: root.AccessKeyID, SecretAccessKey: root.SecretAccessKey,
	}, nil
}

func (l *Local) StartS3(ctx context.Context) error {
	root, err := l.ensureRootAccount()
	for _, dir := range []string{"data", "versions", "iam"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(l.home.S3(), dir), 0o700))
	}
	if err != nil {
		return err
	}
	domain := "s3." + Region + ".amazonaws.com"
	return l.startService(ctx, service{
		role: roleS3, address: S3Address(), hosts: []string{domain, "*." + domain},
		mounts:      []string{filepath.Join(l.home.Bin(), "versitygw") + ":/versitygw:ro", l.home.S3() + ":/s3"},
		environment: root.environment(),
		command: []string{
			"/versitygw", "--port", ":443", "--cert", Certificate(roleS3), "--key", CertificateKey(roleS3),
			"--region", Region, "--virtual-domain", domain, "--iam-dir", "/s3/iam", "--quiet",
			"posix", "--versioning-dir", "/s3/versions", "/s3/data",
		},
	})
}

// StartRegistry starts the registry, or restarts it if an image has changed.
func (l *Local) StartRegistry(ctx context.Context) error {
	minbase, err := l.builder.Archive(ctx, image.Minbase())
	if err != nil {
		return err
	}
	traefik, err := l.traefikLayer(ctx)
	if err != nil {
		return err
	}
	images, err := imagesHash(minbase, traefik)
	if err != nil {
		return err
	}
	return l.startBuiltin(ctx, service{
		role: roleRegistry, address: RegistryAddress(), hosts: []string{"registry-1.docker.io"},
		mounts: []string{minbase + ":" + BaseLayer + ":ro", traefik + ":" + TraefikLayer + ":ro"},
		// Pass on the switch that decides whether the real images are served.
		environment: []string{offline.Variable + "=" + os.Getenv(offline.Variable)},
		config:      images,
	})
}

// imagesHash returns a string that changes whenever the registry's images or their layer files change.
func imagesHash(minbase, traefik string) (string, error) {
	var sums []string
	for _, layer := range []string{minbase, traefik} {
		sum, err := image.HashFile(layer)
		if err != nil {
			return "", err
		}
		sums = append(sums, sum)
	}
	return fmt.Sprintf("%q %v %s", registry.Images(BaseLayer, TraefikLayer), sums, runtime.GOARCH), nil
}

// PackTraefik builds the layer of the Traefik image that StartRegistry serves, unless the cache has a layer for
// the Traefik in the home's bin directory.
func (l *Local) PackTraefik(ctx context.Context) error {
	_, err := l.traefikLayer(ctx)
	return err
}

func (l *Local) traefikLayer(ctx context.Context) (string, error) {
	return l.builder.Layer(ctx, image.Traefik(filepath.Join(l.home.Bin(), "traefik")))
}

// StartAWSAPI starts the double of KMS, STS and EC2. EC2 requests move addresses and terminate instances, so the
// double gets access to this home and to the engine.
func (l *Local) StartAWSAPI(ctx context.Context) error {
	root, err := l.ensureRootAccount()
	keys := filepath.Join(l.home.Cloud(), "kms")
	docker, lookErr := exec.LookPath("docker")
	socket, socketErr := l.docker.Socket(ctx)
	if err = errors.Join(err, lookErr, socketErr, os.MkdirAll(keys, 0o700)); err != nil {
		return err
	}
	suffix := "." + Region + ".amazonaws.com"
	return l.startBuiltin(ctx, service{
		role: roleAWSAPI, address: awsAPIAddress(), hosts: []string{"kms" + suffix, "sts" + suffix, "ec2" + suffix},
		mounts: []string{
			l.home.String() + ":" + l.home.String(), keys + ":" + DataDir,
			docker + ":/usr/bin/docker:ro", socket + ":/var/run/docker.sock",
		},
		environment: append(root.environment(), state.Variable+"="+l.home.String()),
	})
}

func (l *Local) StartVictorOps(ctx context.Context) error {
	return l.startBuiltin(ctx, service{
		role: roleVictorOps, address: VictorOpsAddress(), hosts: []string{VictorOpsName},
		environment: []string{VictorOpsKeyVariable + "=" + VictorOpsKey},
	})
}

// StartUptimeRobot starts the UptimeRobot double. The double resolves the zone's names and trusts the ACME
// server's certificates, so StartACME must come first.
func (l *Local) StartUptimeRobot(ctx context.Context) error {
	dir := filepath.Join(l.home.Cloud(), "uptimerobot")
	roots, err := os.ReadFile(l.home.AuthorityFile())
	if err = errors.Join(err, os.MkdirAll(dir, 0o700)); err != nil {
		return err
	}
	if err := state.WriteFile(filepath.Join(dir, "roots.pem"), roots, 0o600); err != nil {
		return err
	}
	return l.startBuiltin(ctx, service{
		role: roleUptimeRobot, address: uptimeRobotAddress(), hosts: []string{uptimeRobotName},
		mounts: []string{dir + ":" + DataDir},
		environment: []string{
			UptimeRobotKeyVariable + "=" + UptimeRobotKey, UptimeRobotHeartbeatVariable + "=" + UptimeRobotHeartbeat,
		},
		// The ACME server has a new root certificate after each start.
		config: string(roots),
	})
}

// StartDNS starts the zone's name server and adds the zone's names to this machine's hosts file.
func (l *Local) StartDNS(ctx context.Context) error {
	if err := l.reapplyRecords(); err != nil {
		return err
	}
	return l.startBuiltin(ctx, service{
		role: roleDNS, address: DNSAddress(), port: dnsPort, mounts: []string{l.zoneDir() + ":" + DataDir + ":ro"},
	})
}
