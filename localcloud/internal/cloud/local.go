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
	Region        = "us-east-1"             // the only region with endpoints in localcloud
	ServerAMI     = "ami-0deb1a13000000000" // the only AMI
	ServerAMIName = "debian-13-amd64-localcloud"
	RootDevice    = "/dev/xvda" // the root device name of Debian's AMIs

	network = "localcloud"
	// subnet is localcloud's "internet". Public addresses come from its second half and are on-link.
	subnet       = "198.18.0.0/23"
	dynamicRange = "198.18.0.128/25" // the engine's addresses for containers without a fixed one

	// The labels of a container describe its purpose and its owner.
	labelRole     = dockerd.Label + ".role"
	labelVPC      = dockerd.Label + ".vpc"
	labelInstance = dockerd.Label + ".instance"
	labelSpec     = dockerd.Label + ".spec" // a hash of the service's settings

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

	program = "/localcloud" // localcloud's executable in its containers
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

// Local is the Cloud on this machine. Open is cheap: the Start methods start the engine and the services, and
// every process that opens the same home finds them.
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
		return nil, fmt.Errorf("open local cloud: %s is not an absolute path", dir)
	}
	runner, h := run.Exec{Grace: 30 * time.Second}, state.Home(dir)
	own := dockerd.New(h, runner)
	builder := image.Builder{Home: h, Runner: runner}
	return &Local{home: h, runner: runner, engine: own, docker: own.Docker(), builder: builder}, nil
}

func (l *Local) Image(_ context.Context, ami string) (Image, error) {
	if ami != ServerAMI {
		return Image{}, fmt.Errorf("AMI %s: %w: the only AMI is %s (%s)", ami, ErrNotFound, ServerAMI, ServerAMIName)
	}
	return Image{Architecture: architecture(), RootDeviceName: RootDevice}, nil
}

// architecture returns this machine's architecture as EC2 names it.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// Recipes returns the recipes of the root file systems that the local cloud needs in the cache.
func Recipes() ([]image.Recipe, error) {
	server, err := image.Server()
	if err != nil {
		return nil, err
	}
	return []image.Recipe{server, image.Gateway(), image.Minbase()}, nil
}

// StartNetwork finds or starts the engine and creates localcloud's network.
func (l *Local) StartNetwork(ctx context.Context) error {
	docker, own, err := l.engine.Ensure(ctx)
	if err != nil {
		return err
	}
	// Before the network: the blackhole route covers a larger range, which the network then overrides.
	if err := hostnet.New(l.home, l.runner).Prepare(ctx, own); err != nil {
		return fmt.Errorf("prepare the host network: %w", err)
	}
	found, err := docker.Run(ctx, "network", "ls", "--quiet", "--filter", "name=^"+network+"$",
		"--filter", "label="+l.homeLabel())
	if err != nil || found != "" {
		return err
	}
	_, err = docker.Run(ctx, "network", "create", "--label", l.homeLabel(),
		"--subnet", subnet, "--ip-range", dynamicRange, "--gateway", hostAddress().String(),
		"--opt", "com.docker.network.bridge.name="+hostnet.Bridge, network)
	return err
}

// LoadImages imports the containers' images into the engine, and builds those that are missing from the cache.
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

// Heal restarts the existing VPCs and instances, and attaches their network interfaces again: a restart of the
// engine or of the machine detaches them.
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

// Down removes everything from the machine except the cache and the tools.
func (l *Local) Down(ctx context.Context) error {
	find := l.engine.Find
	if l.engine.Exists() {
		// localcloud's engine may have been killed, or the machine restarted: start it again, because its
		// containers are best removed by the engine itself.
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

// removeAll removes localcloud's containers, networks, volumes and images from an engine.
func (l *Local) removeAll(ctx context.Context, docker dockerd.Docker, own bool) error {
	containers, err := docker.Run(ctx, "ps", "--all", "--quiet", "--filter", "label="+l.homeLabel())
	if err == nil {
		err = docker.Remove(ctx, strings.Fields(containers)...)
	}
	if own {
		// The rest is deleted with the engine. Docker sometimes refuses to remove a network shortly after its containers:
		// it "has active endpoints".
		return err
	}
	for _, kind := range []struct {
		format string
		remove []string
	}{
		{"{{.ID}}", []string{"network", "rm"}},
		{"{{.Name}}", []string{"volume", "rm"}},
		{"{{.Repository}}:{{.Tag}}", []string{"image", "rm", "--force"}},
	} {
		var output string
		if err == nil {
			output, err = docker.Run(ctx, kind.remove[0], "ls", "--filter", "label="+l.homeLabel(), "--format", kind.format)
		}
		if found := strings.Fields(output); len(found) > 0 && err == nil {
			_, err = docker.Run(ctx, append(kind.remove, found...)...)
		}
	}
	return err
}

// homeLabel is the label of all containers, volumes, networks and images of this home.
func (l *Local) homeLabel() string { return dockerd.Label + "=" + l.home.String() }

func (l *Local) labels(pairs ...string) []string {
	args := []string{"--label", l.homeLabel()}
	for i := 0; i < len(pairs); i += 2 {
		args = append(args, "--label", pairs[i]+"="+pairs[i+1])
	}
	return args
}
