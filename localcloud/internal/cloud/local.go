package cloud

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/hostnet"
	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/pki"
	"immutable-infra/localcloud/internal/run"
)

const (
	// Region is the region whose endpoints exist in localcloud.
	Region = "us-east-1"
	// ServerAMI is the one AMI that localcloud serves, and ServerAMIName its name.
	ServerAMI     = "ami-0deb1a13000000000"
	ServerAMIName = "debian-13-amd64-localcloud"
	// RootDevice is the root device name of Debian's AMIs.
	RootDevice = "/dev/xvda"

	network = "localcloud"
	// subnet is "the internet" of localcloud; public addresses come from its
	// second half and are reached on the link.
	subnet = "198.18.0.0/23"
	// automatic is where the engine takes addresses from when none is asked for.
	automatic = "198.18.0.128/25"

	// Every container says by these labels what it is and what it belongs to.
	labelRole     = engine.Label + ".role"
	labelVPC      = engine.Label + ".vpc"
	labelInstance = engine.Label + ".instance"
	// labelSpec names what a service was started with.
	labelSpec = engine.Label + ".spec"

	roleGateway   = "gateway"
	roleInterface = "interface"
	roleInstance  = "instance"
	roleS3        = "s3"
	roleRegistry  = "registry"
	roleDNS       = "dns"
	roleACME      = "acme"

	// program is where localcloud itself is in its own containers.
	program = "/localcloud"
)

func hostAddress() netip.Addr        { return netip.AddrFrom4([4]byte{198, 18, 0, 1}) }
func s3Address() netip.Addr          { return netip.AddrFrom4([4]byte{198, 18, 0, 3}) }
func registryAddress() netip.Addr    { return netip.AddrFrom4([4]byte{198, 18, 0, 4}) }
func dnsAddress() netip.Addr         { return netip.AddrFrom4([4]byte{198, 18, 0, 5}) }
func acmeAddress() netip.Addr        { return netip.AddrFrom4([4]byte{198, 18, 0, 6}) }
func victorOpsAddress() netip.Addr   { return netip.AddrFrom4([4]byte{198, 18, 0, 7}) }
func uptimeRobotAddress() netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, 8}) }
func awsAPIAddress() netip.Addr      { return netip.AddrFrom4([4]byte{198, 18, 0, 9}) }
func firstGateway() netip.Addr       { return netip.AddrFrom4([4]byte{198, 18, 0, 16}) }

// Local is the Cloud on this machine. Opening it is cheap; what it needs to
// run is started by Start and found again by every process that opens it.
type Local struct {
	home    home.Home
	runner  run.Runner
	engine  *engine.Engine
	builder image.Builder

	mu     sync.Mutex
	docker *engine.Docker // found on first use
}

var _ Cloud = (*Local)(nil)

// Open opens the local cloud of a home directory.
func Open(dir string) (*Local, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open local cloud: %s: write an absolute path", dir)
	}
	runner := run.Exec{Grace: 30 * time.Second}
	h := home.Home(dir)
	return &Local{home: h, runner: runner, engine: engine.New(h, runner), builder: image.Builder{Home: h, Runner: runner}}, nil
}

// Image implements Cloud.
func (l *Local) Image(_ context.Context, ami string) (Image, error) {
	if ami != ServerAMI {
		return Image{}, fmt.Errorf("AMI %s: %w: localcloud has %s (%s)", ami, ErrNotFound, ServerAMI, ServerAMIName)
	}
	return Image{Architecture: architecture(), RootDeviceName: RootDevice}, nil
}

// architecture is this machine's, in the words of EC2.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// Recipes are the root file systems that Start needs in the cache.
func Recipes() ([]image.Recipe, error) {
	server, err := image.Server()
	if err != nil {
		return nil, err
	}
	return []image.Recipe{server, image.Gateway(), image.Minbase()}, nil
}

// StartNetwork finds or starts the engine and makes localcloud's network.
func (l *Local) StartNetwork(ctx context.Context) error {
	docker, own, err := l.engine.Ensure(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.docker = &docker
	l.mu.Unlock()
	// Before the network: the blackhole is the less specific route.
	if err := hostnet.New(l.home, l.runner).Prepare(ctx, own); err != nil {
		return fmt.Errorf("prepare this machine's network: %w", err)
	}
	found, err := docker.Run(ctx, "network", "ls", "--quiet", "--filter", "name=^"+network+"$", "--filter", "label="+l.own())
	if err != nil || found != "" {
		return err
	}
	_, err = docker.Run(ctx, "network", "create",
		"--label", engine.Label+"="+l.home.String(),
		"--subnet", subnet, "--ip-range", automatic, "--gateway", hostAddress().String(),
		"--opt", "com.docker.network.bridge.name="+hostnet.Bridge, network)
	return err
}

// LoadImages gives the engine the images that the containers run from,
// building what the cache does not have.
func (l *Local) LoadImages(ctx context.Context) error {
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	if _, err := l.gatewayImage(ctx, docker); err != nil {
		return err
	}
	_, err = l.serverImage(ctx, docker)
	return err
}

func (l *Local) gatewayImage(ctx context.Context, docker engine.Docker) (string, error) {
	return l.builder.Import(ctx, docker, image.Gateway())
}

func (l *Local) serverImage(ctx context.Context, docker engine.Docker) (string, error) {
	recipe, err := image.Server()
	if err != nil {
		return "", err
	}
	authority, err := l.authority()
	if err != nil {
		return "", err
	}
	return l.builder.ImportTrusting(ctx, docker, recipe, authority.CertificateFile())
}

func (l *Local) authority() (*pki.Authority, error) {
	_, allowed, err := net.ParseCIDR(hostnet.Range)
	if err != nil {
		return nil, err
	}
	return pki.Open(l.home.TLS(), []string{"amazonaws.com", "docker.io", "docker.com", ZoneName, VictorOpsName}, allowed)
}

// Heal starts again what is missing of the VPCs and instances that exist: after
// a restart of the engine or of the machine nothing is plugged in any more.
func (l *Local) Heal(ctx context.Context) error {
	docker, err := l.client(ctx)
	if err != nil {
		return err
	}
	ids, err := l.vpcIDs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		config, err := l.readVPC(id)
		if err != nil {
			return err
		}
		if err := l.startGateway(ctx, docker, config); err != nil {
			return fmt.Errorf("VPC %s: %w", id, err)
		}
		instances, err := docker.List(ctx, l.own(), labelVPC+"="+id, labelRole+"="+roleInstance)
		if err != nil {
			return err
		}
		for _, instance := range instances {
			if err := l.healInstance(ctx, docker, instance); err != nil {
				return fmt.Errorf("instance %s: %w", instance.Config.Labels[labelInstance], err)
			}
		}
	}
	return nil
}

// Down removes everything from the machine but the cache and the tools.
func (l *Local) Down(ctx context.Context) error {
	var problems []error
	find := l.engine.Find
	if l.engine.Exists() {
		// It may have been killed, or the machine restarted: its containers are
		// best removed by itself.
		find = l.engine.Ensure
	}
	docker, own, err := find(ctx)
	switch {
	case err == nil:
		if err := l.removeAll(ctx, docker, own); err != nil {
			problems = append(problems, err)
		}
	case !errors.Is(err, engine.ErrNotRunning):
		problems = append(problems, err)
	}
	if err := hostnet.New(l.home, l.runner).Undo(ctx); err != nil {
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	if err := l.engine.Stop(ctx); err != nil {
		return err
	}
	for _, dir := range []string{l.home.Cloud(), l.home.S3(), l.home.TLS(), l.home.SSH(), l.home.Pulumi(), l.home.Programs()} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove localcloud's state: %w", err)
		}
	}
	return nil
}

func (l *Local) removeAll(ctx context.Context, docker engine.Docker, own bool) error {
	containers, err := docker.List(ctx, l.own())
	if err != nil {
		return err
	}
	var names []string
	for _, container := range containers {
		names = append(names, container.ID)
	}
	if err := docker.Remove(ctx, names...); err != nil {
		return err
	}
	for _, kind := range []string{"network", "volume"} {
		output, err := docker.Run(ctx, kind, "ls", "--quiet", "--filter", "label="+l.own())
		if err != nil {
			return err
		}
		if found := strings.Fields(output); len(found) > 0 {
			if _, err := docker.Run(ctx, append([]string{kind, "rm"}, found...)...); err != nil {
				return err
			}
		}
	}
	if own {
		return nil // its images go with the engine
	}
	output, err := docker.Run(ctx, "image", "ls", "--filter", "label="+l.own(), "--format", "{{.Repository}}:{{.Tag}}")
	if err != nil {
		return err
	}
	if found := strings.Fields(output); len(found) > 0 {
		_, err = docker.Run(ctx, append([]string{"image", "rm", "--force"}, found...)...)
	}
	return err
}

// client returns the docker command for the engine that runs.
func (l *Local) client(ctx context.Context) (engine.Docker, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.docker == nil {
		docker, _, err := l.engine.Find(ctx)
		if err != nil {
			return engine.Docker{}, fmt.Errorf("%w: start the local cloud with `make up`", err)
		}
		l.docker = &docker
	}
	return *l.docker, nil
}

// lock keeps other processes, and other goroutines, from changing the same
// VPC's files at once.
func (l *Local) lock() (unlock func(), err error) {
	if err := os.MkdirAll(l.home.Cloud(), 0o700); err != nil {
		return nil, fmt.Errorf("lock local cloud: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(l.home.Cloud(), "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock local cloud: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, fmt.Errorf("lock local cloud: %w", err)
	}
	return func() { file.Close() }, nil
}

// own is the label of everything of this home.
func (l *Local) own() string { return engine.Label + "=" + l.home.String() }

func (l *Local) labels(pairs ...string) []string {
	args := []string{"--label", l.own()}
	for i := 0; i < len(pairs); i += 2 {
		args = append(args, "--label", pairs[i]+"="+pairs[i+1])
	}
	return args
}
