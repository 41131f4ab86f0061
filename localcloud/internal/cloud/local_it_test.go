package cloud_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/state"
)

const (
	vpcID  = "vpc-0123456789abcdef0"
	first  = "i-0000000000000000a"
	second = "i-0000000000000000b"
	port   = "12222"
)

// world is one VPC with up to two instances, as the aws plugin would create it.
type world struct {
	t      *testing.T
	ctx    context.Context
	local  *cloud.Local
	signer ssh.Signer
	user   []byte
}

// TestInstancesOnThisMachine boots real instances. It needs root, Docker Engine, mmdebstrap and a few minutes, so it
// only runs with LOCALCLOUD_IT=1 and with LOCALCLOUD_HOME set to the home to use.
func TestInstancesOnThisMachine(t *testing.T) {
	if os.Getenv("LOCALCLOUD_IT") == "" {
		t.Skip("boots real instances: set LOCALCLOUD_IT=1 and LOCALCLOUD_HOME to run it")
	}
	dir := os.Getenv(state.Variable)
	require.NotEmpty(t, dir, "LOCALCLOUD_HOME")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	w := startWorld(t, ctx, dir)

	vip, spare := netip.MustParseAddr("198.18.1.10"), netip.MustParseAddr("198.18.1.11")
	a := w.eni(first, "10.20.1.10", vip)
	w.apply(a)
	w.run(a)
	began := time.Now()

	t.Run("cloud-init applies the user data without warnings", func(t *testing.T) {
		w.await(vip)
		require.Contains(t, w.must(t, vip, "cloud-init status --wait"), "status: done")
		t.Logf("boot finished %.1f s after RunInstance", time.Since(began).Seconds())
		require.Equal(t, "hello", w.must(t, vip, "cat /etc/greeting"))
		require.Equal(t, "running", w.must(t, vip, "systemctl is-system-running --wait"))
	})

	t.Run("only the ports of the security group are open", func(t *testing.T) {
		require.False(t, reachable(netip.AddrPortFrom(vip, 22)), "port 22 has no rule")
		w.must(t, vip, "sudo systemd-run --unit=listen python3 -m http.server 8080")
		w.must(t, vip, "until curl -sf -o /dev/null http://127.0.0.1:8080/; do :; done")
		require.False(t, reachable(netip.AddrPortFrom(vip, 8080)), "port 8080 has no rule")
		a.Ingress = append(a.Ingress, cloud.Rule{Protocol: "tcp", FromPort: 8080, ToPort: 8080, CIDRs: anywhere()})
		w.apply(a)
		require.True(t, reachable(netip.AddrPortFrom(vip, 8080)), "port 8080 has a rule now")
		route, err := exec.CommandContext(ctx, "ip", "route", "get", "10.20.1.10").CombinedOutput()
		require.NoError(t, err)
		require.NotContains(t, string(route), "dev localcloud", "this machine has no route to private addresses")
	})

	t.Run("the metadata service requires a token", func(t *testing.T) {
		require.Equal(t, "401",
			w.must(t, vip, "curl -s -o /dev/null -w '%{http_code}' http://169.254.169.254/latest/meta-data/"))
		require.Equal(t, first, w.must(t, vip, `T=$(curl -sX PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token); curl -s -H "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/instance-id`))
	})

	t.Run("S3 responds at its AWS names with a valid certificate", func(t *testing.T) {
		require.Contains(t, w.must(t, vip, "curl -sS https://s3.us-east-1.amazonaws.com/some-bucket/key"),
			"<BucketName>some-bucket<")
		require.Contains(t, w.must(t, vip, "curl -sS https://some-bucket.s3.us-east-1.amazonaws.com/key"),
			"<BucketName>some-bucket<")
	})

	t.Run("zone names resolve on the instance and on this machine", func(t *testing.T) {
		const name = "site." + cloud.ZoneName
		lookup := "getent ahostsv4 " + name + " | head -n 1 | cut -d ' ' -f 1"
		for _, address := range []netip.Addr{vip, spare} {
			require.NoError(t,
				w.local.ApplyRecords(ctx, []dns.Record{{Name: name, Type: "A", TTL: 1, Values: []string{address.String()}}}))
			require.Eventually(t, func() bool { return w.must(t, vip, lookup) == address.String() }, 10*time.Second,
				200*time.Millisecond)
			here, err := exec.CommandContext(ctx, "sh", "-c", lookup).CombinedOutput()
			require.NoError(t, err, string(here))
			require.Equal(t, address.String(), strings.TrimSpace(string(here)))
		}
		require.NoError(t, w.local.ApplyRecords(ctx, nil))
		require.Equal(t, "198.18.0.7",
			w.must(t, vip, "getent ahostsv4 "+cloud.VictorOpsName+" | head -n 1 | cut -d ' ' -f 1"))
	})

	t.Run("the ACME server responds at its name with a valid certificate", func(t *testing.T) {
		require.Contains(t, w.must(t, vip, "curl -sS https://acme.localcloud.test/dir"), "newOrder")
		bundle := state.Home(dir).AuthorityFile()
		here, err := exec.CommandContext(ctx, "curl", "-sS", "--noproxy", "*", "--cacert", bundle,
			"https://acme.localcloud.test/dir").CombinedOutput()
		require.NoError(t, err, string(here))
		require.Contains(t, string(here), "newOrder")
	})

	t.Run("docker builds from debian:trixie-slim", func(t *testing.T) {
		w.must(t, vip, "sudo apt-get install -qy --no-install-recommends docker.io docker-cli docker-compose "+
			"docker-buildx iptables >/dev/null")
		out := w.must(t, vip, `mkdir -p b && printf 'FROM debian:trixie-slim\nRUN apt-get update -q && apt-get install -qy --no-install-recommends nginx curl\n' > b/Dockerfile && sudo docker build -q -t web b && sudo docker run -d --name web -p 80:80 web nginx -g 'daemon off;'`)
		require.NotEmpty(t, out)
		w.must(t, vip, "until curl -sf -o /dev/null http://127.0.0.1:80/; do :; done")
		require.True(t, reachable(netip.AddrPortFrom(vip, 80)))
	})

	t.Run("docker runs the Traefik image like upstream's", func(t *testing.T) {
		require.Contains(t, w.must(t, vip, "sudo docker run --rm traefik:v3.7.13 version"), "3.7.13")
		require.Contains(t, w.must(t, vip,
			"sudo docker run --rm --read-only --user 1000 --cap-drop ALL traefik:v3.7.13 --help"), "--entrypoints")
	})

	t.Run("containers cannot reach the metadata service", func(t *testing.T) {
		out, err := w.ssh(vip,
			"sudo docker exec web curl -s -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "+
				"http://169.254.169.254/latest/api/token")
		require.Error(t, err)
		require.Empty(t, out)
	})

	t.Run("a rebooted instance keeps its disk", func(t *testing.T) {
		before := w.must(t, vip, "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic")
		_, _ = w.ssh(vip, "sudo reboot") // the reboot cuts the connection
		require.Eventually(t, func() bool {
			now, err := w.ssh(vip, "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic")
			return err == nil && now != before
		}, time.Minute, 200*time.Millisecond)
		require.Equal(t, "hello", w.must(t, vip, "cat /etc/greeting"))
		require.Contains(t, w.must(t, vip, "cloud-init status --wait"), "status: done")
	})

	b := w.eni(second, "10.20.1.11", spare)
	t.Run("an Elastic IP moves to another instance immediately", func(t *testing.T) {
		w.apply(a, b)
		w.run(b)
		w.await(spare)
		w.must(t, vip, "sudo systemd-run --unit=closed python3 -m http.server 9999")
		w.must(t, vip, "until curl -sf -o /dev/null http://127.0.0.1:9999/; do :; done")
		w.must(t, spare, "timeout 3 bash -c '</dev/tcp/10.20.1.10/12222'")
		_, err := w.ssh(spare, "timeout 3 bash -c '</dev/tcp/10.20.1.10/9999'")
		require.Error(t, err, "port 9999 is also closed to other instances")
		require.NotEqual(t, w.must(t, vip, "hostname"), w.must(t, spare, "hostname"))

		established, err := w.dial(vip)
		require.NoError(t, err)
		defer established.Close()
		_, err = w.local.SetMove(cloud.MoveText{Window: "0s", Connections: "none"})
		require.NoError(t, err)
		a.PublicIP, b.PublicIP, b.Elastic = netip.Addr{}, vip, true
		w.apply(a, b)
		require.Equal(t, "ip-10-20-1-11", w.must(t, vip, "hostname"))
		require.False(t, reachable(netip.AddrPortFrom(spare, 12222)), "the spare address is released")
		require.Error(t, keepAlive(t, established))
	})

	for i, text := range []cloud.MoveText{
		{Window: "1s", Arrive: "old", Connections: "none"},
		{Window: "6s", Arrive: "old", Connections: "end"},
		{Window: "6s", Arrive: "nothing", Connections: "none"},
		{Window: "30s", Arrive: "old", Connections: "60s"},
	} {
		from, to := &b, &a
		if i%2 == 1 {
			from, to = to, from
		}
		t.Run(fmt.Sprintf("an Elastic IP moves as configured: %+v", text), func(t *testing.T) {
			w.requireMove(t, vip, from, to, text)
		})
	}

	t.Run("an instance that powers itself off stays off", func(t *testing.T) {
		// The connection can be cut before the command returns.
		_, _ = w.ssh(vip, "sudo systemctl poweroff")
		require.Eventually(t, func() bool {
			state, err := w.local.InstanceState(ctx, second)
			require.NoError(t, err)
			return state == cloud.InstanceStopped
		}, time.Minute, 200*time.Millisecond)
	})

	t.Run("a terminated instance no longer exists", func(t *testing.T) {
		require.NoError(t, w.local.TerminateInstance(ctx, first))
		_, err := w.local.InstanceState(ctx, first)
		require.ErrorIs(t, err, cloud.ErrNotFound)
		state, err := w.local.InstanceState(ctx, second)
		require.NoError(t, err)
		require.Equal(t, cloud.InstanceStopped, state)
	})
}

func startWorld(t *testing.T, ctx context.Context, dir string) *world {
	t.Helper()
	require.NoError(t, state.Home(dir).Make())
	local, err := cloud.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() {
		if os.Getenv("LOCALCLOUD_KEEP") == "" {
			require.NoError(t, local.Down(context.WithoutCancel(ctx)))
		}
	})
	build := exec.CommandContext(ctx, "go", "build", "-o", state.Home(dir).Executable(), "immutable-infra/localcloud")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, tool := range []string{"versitygw", "pebble", "traefik"} {
		require.FileExists(t, filepath.Join(state.Home(dir).Bin(), tool))
	}
	for _, step := range []func(context.Context) error{
		local.StartNetwork, local.LoadImages, local.StartS3, local.StartRegistry, local.StartDNS, local.StartACME,
	} {
		began := time.Now()
		require.NoError(t, step(ctx))
		t.Logf("step: %.1f s", time.Since(began).Seconds())
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	key, err := ssh.NewPublicKey(public)
	require.NoError(t, err)
	w := &world{t: t, ctx: ctx, local: local, signer: signer}
	w.user = fmt.Appendf(nil, `#cloud-config
users:
  - name: admin
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: [ %q ]
write_files:
  - path: /etc/greeting
    content: hello
  - path: /etc/ssh/sshd_config.d/10-port.conf
    content: Port %s
package_update: true
package_upgrade: true
`, bytes.TrimSpace(ssh.MarshalAuthorizedKey(key)), port)
	require.NoError(t, local.CreateVPC(ctx, cloud.VPC{ID: vpcID, CIDRBlock: netip.MustParsePrefix("10.20.0.0/16")}))
	return w
}

// requireMove associates the Elastic IP with the other instance and requires new and established connections to behave
// as the settings of the move specify.
func (w *world) requireMove(t *testing.T, vip netip.Addr, from, to *cloud.NetworkInterface, text cloud.MoveText) {
	t.Helper()
	move, err := w.local.SetMove(text)
	require.NoError(t, err)
	established, err := w.dial(vip)
	require.NoError(t, err)
	defer established.Close()
	began := time.Now()
	from.PublicIP, from.Elastic, to.PublicIP, to.Elastic = netip.Addr{}, false, vip, true
	w.apply(*from, *to)
	applied := time.Now()
	before, after := cloud.PrivateHostname(from.PrivateIP), cloud.PrivateHostname(to.PrivateIP)
	for {
		elapsed := time.Since(applied)
		answer, err := w.ssh(vip, "hostname")
		if err == nil && answer == after {
			require.GreaterOrEqual(t, time.Since(began), move.Window, "the new instance responds too early")
			break
		}
		require.Less(t, elapsed, move.Window, "the new instance does not respond: %q, %v", answer, err)
		if move.Arrive == cloud.AtNothing {
			require.Error(t, err)
		} else {
			require.NoError(t, err)
			require.Equal(t, before, answer)
		}
	}
	switch move.Connections {
	case 0:
		require.Error(t, keepAlive(t, established))
	case cloud.UntilEnd:
		require.NoError(t, keepAlive(t, established))
	default:
		require.NoError(t, keepAlive(t, established))
		require.Eventually(t, func() bool { return keepAlive(t, established) != nil },
			time.Until(applied.Add(move.Connections+5*time.Second)), time.Second)
		require.GreaterOrEqual(t, time.Since(began), move.Connections)
	}
}

// keepAlive sends a request that the server answers while the connection is open.
func keepAlive(t *testing.T, connection *ssh.Client) error {
	t.Helper()
	answered := make(chan error, 1)
	go func() { _, _, err := connection.SendRequest("keepalive@openssh.com", true, nil); answered <- err }()
	select {
	case err := <-answered:
		return err
	case <-time.After(10 * time.Second):
		t.Error("the old connection is still waiting for a response")
		return nil
	}
}

func anywhere() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")} }

func (w *world) eni(id, private string, public netip.Addr) cloud.NetworkInterface {
	return cloud.NetworkInterface{
		InstanceID: id, PrivateIP: netip.MustParseAddr(private), PublicIP: public,
		Ingress: []cloud.Rule{
			{Protocol: "tcp", FromPort: 80, ToPort: 80, CIDRs: anywhere()},
			{Protocol: "tcp", FromPort: 12222, ToPort: 12222, CIDRs: anywhere()},
		},
		Egress: []cloud.Rule{{Protocol: "-1", CIDRs: anywhere()}},
		Metadata: cloud.Metadata{
			AMI: cloud.ServerAMI, InstanceType: "t3.micro", AvailabilityZone: "us-east-1a", Region: "us-east-1",
			AccountID: "000000000000", VpcID: vpcID, SubnetID: "subnet-0123456789abcdef0",
			VpcCIDR: netip.MustParsePrefix("10.20.0.0/16"), SubnetCIDR: netip.MustParsePrefix("10.20.1.0/24"),
			SecurityGroups: []string{"web"}, UserData: w.user, Architecture: "x86_64",
			HopLimit: 1, TokensRequired: true, Enabled: true,
		},
	}
}

func (w *world) apply(interfaces ...cloud.NetworkInterface) {
	w.t.Helper()
	require.NoError(w.t, w.local.ApplyGateway(w.ctx, vpcID, cloud.GatewayState{Interfaces: interfaces}))
}

func (w *world) run(eni cloud.NetworkInterface) {
	w.t.Helper()
	require.NoError(w.t, w.local.RunInstance(w.ctx, cloud.InstanceSpec{
		ID: eni.InstanceID, VpcID: vpcID, AMI: cloud.ServerAMI, InstanceType: "t3.micro", PrivateIP: eni.PrivateIP,
		Name: "web",
	}))
}

func (w *world) await(address netip.Addr) {
	w.t.Helper()
	require.Eventually(w.t, func() bool { _, err := w.ssh(address, "true"); return err == nil }, 90*time.Second,
		500*time.Millisecond)
}

func (w *world) dial(address netip.Addr) (*ssh.Client, error) {
	return ssh.Dial("tcp", net.JoinHostPort(address.String(), port), &ssh.ClientConfig{
		User: "admin", Auth: []ssh.AuthMethod{ssh.PublicKeys(w.signer)}, Timeout: 3 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // host keys are not tested here
	})
}

func (w *world) ssh(address netip.Addr, command string) (string, error) {
	client, err := w.dial(address)
	if err != nil {
		return "", err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	var stderr bytes.Buffer
	session.Stderr = &stderr
	out, err := session.Output(command)
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", command, err, out, stderr.String())
	}
	return strings.TrimSpace(string(out)), err
}

func (w *world) must(t *testing.T, address netip.Addr, command string) string {
	t.Helper()
	out, err := w.ssh(address, command)
	require.NoError(t, err)
	return out
}

func reachable(address netip.AddrPort) bool {
	connection, err := net.DialTimeout("tcp", address.String(), 2*time.Second)
	if err != nil {
		return false
	}
	connection.Close()
	return true
}
