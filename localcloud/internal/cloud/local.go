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
	"time"

	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/hostnet"
	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/pki"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
)

const (
	Region        = "us-east-1"             // the region whose endpoints exist in localcloud
	ServerAMI     = "ami-0deb1a13000000000" // the one AMI that localcloud serves
	ServerAMIName = "debian-13-amd64-localcloud"
	RootDevice    = "/dev/xvda" // the root device name of Debian's AMIs

	network = "localcloud"
	// subnet is "the internet" of localcloud; public addresses come from its
	// second half and are reached on the link.
	subnet    = "198.18.0.0/23"
	automatic = "198.18.0.128/25" // where the engine takes addresses from when none is asked for

	// Every container says by these labels what it is and what it belongs to.
	labelRole     = dockerd.Label + ".role"
	labelVPC      = dockerd.Label + ".vpc"
	labelInstance = dockerd.Label + ".instance"
	labelSpec     = dockerd.Label + ".spec" // names what a service was started with

	roleGateway   = "gateway"
	roleInterface = "interface"
	roleInstance  = "instance"
	roleS3        = "s3"
	roleRegistry  = "registry"
	roleDNS       = "dns"
	roleACME      = "acme"

	roleAWSAPI      = "awsapi"
	roleVictorOps   = "victorops"
	roleUptimeRobot = "uptimerobot"

	program = "/localcloud" // where localcloud itself is in its own containers
)

// The addresses of this machine and of the services on localcloud's network.
func hostAddress() netip.Addr        { return netip.AddrFrom4([4]byte{198, 18, 0, 1}) }
func S3Address() netip.Addr          { return netip.AddrFrom4([4]byte{198, 18, 0, 3}) }
func RegistryAddress() netip.Addr    { return netip.AddrFrom4([4]byte{198, 18, 0, 4}) }
func DNSAddress() netip.Addr         { return netip.AddrFrom4([4]byte{198, 18, 0, 5}) }
func acmeAddress() netip.Addr        { return netip.AddrFrom4([4]byte{198, 18, 0, 6}) }
func VictorOpsAddress() netip.Addr   { return netip.AddrFrom4([4]byte{198, 18, 0, 7}) }
func uptimeRobotAddress() netip.Addr { return netip.AddrFrom4([4]byte{198, 18, 0, 8}) }
func awsAPIAddress() netip.Addr      { return netip.AddrFrom4([4]byte{198, 18, 0, 9}) }
func firstGateway() netip.Addr       { return netip.AddrFrom4([4]byte{198, 18, 0, 16}) }

// Local is the Cloud on this machine. Opening it is cheap; what it needs to
// run is started by Start and found again by every process that opens it.
type Local struct {
	home    state.Home
	runner  run.Runner
	engine  *dockerd.Engine
	docker  dockerd.Docker
	builder image.Builder
}

var _ Cloud = (*Local)(nil)

func Open(dir string) (*Local, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open local cloud: %s: write an absolute path", dir)
	}
	runner, h := run.Exec{Grace: 30 * time.Second}, state.Home(dir)
	own := dockerd.New(h, runner)
	builder := image.Builder{Home: h, Runner: runner}
	return &Local{home: h, runner: runner, engine: own, docker: own.Docker(), builder: builder}, nil
}

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
	// Before the network: the blackhole is the less specific route.
	if err := hostnet.New(l.home, l.runner).Prepare(ctx, own); err != nil {
		return fmt.Errorf("prepare this machine's network: %w", err)
	}
	found, err := docker.Run(ctx, "network", "ls", "--quiet", "--filter", "name=^"+network+"$",
		"--filter", "label="+l.own())
	if err != nil || found != "" {
		return err
	}
	_, err = docker.Run(ctx, "network", "create", "--label", l.own(),
		"--subnet", subnet, "--ip-range", automatic, "--gateway", hostAddress().String(),
		"--opt", "com.docker.network.bridge.name="+hostnet.Bridge, network)
	return err
}

// LoadImages gives the engine the images that the containers run from,
// building what the cache does not have.
func (l *Local) LoadImages(ctx context.Context) error {
	if _, err := l.gatewayImage(ctx); err != nil {
		return err
	}
	_, err := l.serverImage(ctx)
	return err
}

func (l *Local) gatewayImage(ctx context.Context) (string, error) {
	return l.builder.Import(ctx, l.docker, image.Gateway())
}

func (l *Local) serverImage(ctx context.Context) (string, error) {
	recipe, err := image.Server()
	if err != nil {
		return "", err
	}
	authority, err := l.authority()
	if err != nil {
		return "", err
	}
	return l.builder.ImportTrusting(ctx, l.docker, recipe, authority.CertificateFile())
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
	vpcs, err := l.vpcs()
	if err != nil {
		return err
	}
	for _, config := range vpcs {
		if err := l.startGateway(ctx, config); err != nil {
			return fmt.Errorf("VPC %s: %w", config.VPC.ID, err)
		}
		instances, err := l.instances(ctx, config.VPC.ID)
		if err != nil {
			return err
		}
		for _, instance := range instances {
			if err := l.healInstance(ctx, instance); err != nil {
				return fmt.Errorf("instance %s: %w", instance.Config.Labels[labelInstance], err)
			}
		}
	}
	return nil
}

// Down removes everything from the machine but the cache and the tools.
func (l *Local) Down(ctx context.Context) error {
	find := l.engine.Find
	if l.engine.Exists() {
		// It may have been killed, or the machine restarted: its containers are
		// best removed by itself.
		find = l.engine.Ensure
	}
	docker, own, err := find(ctx)
	switch {
	case err == nil:
		err = l.removeAll(ctx, docker, own)
	case errors.Is(err, dockerd.ErrNotRunning):
		err = nil
	}
	if err := errors.Join(err, hostnet.New(l.home, l.runner).Undo(ctx)); err != nil {
		return err
	}
	if err := l.engine.Stop(ctx); err != nil {
		return err
	}
	for _, dir := range []string{
		l.home.Cloud(), l.home.S3(), l.home.TLS(), l.home.SSH(), l.home.Pulumi(), l.home.Programs(),
	} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove localcloud's state: %w", err)
		}
	}
	return nil
}

func (l *Local) removeAll(ctx context.Context, docker dockerd.Docker, own bool) error {
	containers, err := docker.Run(ctx, "ps", "--all", "--quiet", "--filter", "label="+l.own())
	if err == nil {
		err = docker.Remove(ctx, strings.Fields(containers)...)
	}
	kinds := []struct {
		format string
		remove []string
	}{
		{"{{.ID}}", []string{"network", "rm"}},
		{"{{.Name}}", []string{"volume", "rm"}},
		{"{{.Repository}}:{{.Tag}}", []string{"image", "rm", "--force"}},
	}
	if own {
		kinds = kinds[:2] // its images go with the engine
	}
	for _, kind := range kinds {
		var output string
		if err == nil {
			output, err = docker.Run(ctx, kind.remove[0], "ls", "--filter", "label="+l.own(), "--format", kind.format)
		}
		if found := strings.Fields(output); len(found) > 0 && err == nil {
			_, err = docker.Run(ctx, append(kind.remove, found...)...)
		}
	}
	return err
}

// own is the label of everything of this home.
func (l *Local) own() string { return dockerd.Label + "=" + l.home.String() }

func (l *Local) labels(pairs ...string) []string {
	args := []string{"--label", l.own()}
	for i := 0; i < len(pairs); i += 2 {
		args = append(args, "--label", pairs[i]+"="+pairs[i+1])
	}
	return args
}
