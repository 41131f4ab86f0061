package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"immutable-infra/internal/testtool"
	"immutable-infra/internal/testtool/netns"
	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/run"
)

const (
	outsideSpace = "eip-outside" // network namespace of the visitors
	gatewaySpace = "eip-gateway" // network namespace of the gateway
	servicePort  = 443
	// tick is the time between two requests of a visitor. Kernel timeouts are accurate to a fraction of it.
	tick = 100 * time.Millisecond
)

// network applies the gateway's rules in network namespaces of this machine. Two servers answer each line with their
// ID, over TCP and UDP.
type network struct {
	t      *testing.T
	record record
}

// inSpace runs commands in a network namespace.
type inSpace string

func (s inSpace) Run(ctx context.Context, command run.Command) ([]byte, error) {
	command.Args = slices.Concat([]string{"netns", "exec", string(s), command.Name}, command.Args)
	command.Name = "ip"
	return run.Exec{}.Run(ctx, command)
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	for _, tool := range []string{"nft", "conntrack"} {
		testtool.Path(t, tool)
	}
	ip := func(line string) {
		output, err := exec.CommandContext(t.Context(), "ip", strings.Fields(line)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", line, output)
	}
	servers := []string{"i-old", "i-new"}
	for _, space := range append([]string{outsideSpace, gatewaySpace}, servers...) {
		name := space
		if strings.HasPrefix(name, "i-") {
			name = "eip-" + space
		}
		netns.Add(t, name)
		ip("-n " + name + " link set lo up")
	}
	ip("netns exec " + gatewaySpace + " sysctl -qw net.ipv4.ip_forward=1")
	ip("link add eth0 netns " + gatewaySpace + " type veth peer name eth0 netns " + outsideSpace)
	ip("-n " + gatewaySpace + " address add 198.18.0.16/23 dev eth0")
	ip("-n " + outsideSpace + " address add 198.18.0.1/23 dev eth0")
	ip("-n " + gatewaySpace + " link add vpc0 type bridge")
	ip("-n " + gatewaySpace + " address add 10.42.0.1/16 dev vpc0")
	for _, link := range []string{gatewaySpace + " eth0", outsideSpace + " eth0", gatewaySpace + " vpc0"} {
		space, device, _ := strings.Cut(link, " ")
		ip("-n " + space + " link set " + device + " up")
	}
	for _, eni := range stateWithHolder("i-old", "i-new", cloud.Move{}).Interfaces {
		space := "eip-" + eni.InstanceID
		ip("link add " + eni.InstanceID + " netns " + gatewaySpace + " type veth peer name eth0 netns " + space)
		ip("-n " + gatewaySpace + " link set " + eni.InstanceID + " master vpc0 up")
		ip("-n " + space + " link set eth0 address " + cloud.MAC(eni.PrivateIP) + " up")
		ip("-n " + space + " address add " + eni.PrivateIP.String() + "/16 dev eth0")
		ip("-n " + space + " route add default via 10.42.0.1")
		serveID(t, space, eni.InstanceID)
	}
	return &network{t: t}
}

// serveID answers each line with the ID, over TCP and UDP, until the test ends. After the line "reset", it resets the
// connection; after "late", it answers after a tick, and resets the connection after another.
func serveID(t *testing.T, space, id string) {
	t.Helper()
	netns.In(t, space, func() {
		listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", servicePort))
		if !assertNoError(t, err) {
			return
		}
		packets, err := net.ListenPacket("udp4", fmt.Sprintf(":%d", servicePort))
		if !assertNoError(t, err) {
			return
		}
		t.Cleanup(func() { _, _ = listener.Close(), packets.Close() })
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					defer connection.Close()
					for lines := bufio.NewScanner(connection); lines.Scan(); {
						late := lines.Text() == "late"
						if late {
							time.Sleep(tick)
							fmt.Fprintln(connection, id)
							time.Sleep(tick)
						}
						if late || lines.Text() == "reset" {
							_ = connection.(*net.TCPConn).SetLinger(0)
							return
						}
						fmt.Fprintln(connection, id)
					}
				}()
			}
		}()
		go func() {
			buffer := make([]byte, 64)
			for {
				_, from, err := packets.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = packets.WriteTo([]byte(id+"\n"), from)
			}
		}()
	})
}

func assertNoError(t *testing.T, err error) bool {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// apply applies a state to the gateway.
func (n *network) apply(holder, other string, move cloud.Move) {
	n.t.Helper()
	var err error
	wanted := stateWithHolder(holder, other, move)
	n.record, err = load(n.t.Context(), inSpace(gatewaySpace), config(), wanted, n.record, time.Now())
	require.NoError(n.t, err)
}

// dial connects from a namespace.
func (n *network) dial(space, protocol, address string) (net.Conn, error) {
	n.t.Helper()
	return n.dialFrom(nil, space, protocol, address)
}

// dialFrom connects from a local address in a namespace.
func (n *network) dialFrom(local net.Addr, space, protocol, address string) (connection net.Conn, err error) {
	n.t.Helper()
	netns.In(n.t, space, func() {
		// Shorter than the retransmission timeout of a SYN, so that no attempt extends past a window.
		target := net.JoinHostPort(address, strconv.Itoa(servicePort))
		connection, err = (&net.Dialer{Timeout: 5 * tick, LocalAddr: local}).Dial(protocol, target)
	})
	return connection, err
}

// ask sends a line and returns the ID of the server that answers, "nothing" after a timeout, or "reset".
func ask(connection net.Conn) string {
	_ = connection.SetDeadline(time.Now().Add(5 * tick))
	_, err := fmt.Fprintln(connection, "who")
	var line string
	if err == nil {
		line, err = bufio.NewReader(connection).ReadString('\n')
	}
	var timeout net.Error
	switch {
	case err == nil:
		return strings.TrimSpace(line)
	case errors.As(err, &timeout) && timeout.Timeout():
		return "nothing"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	default:
		return err.Error()
	}
}

// askNew asks over a new connection.
func (n *network) askNew(protocol string) string {
	n.t.Helper()
	connection, err := n.dial(outsideSpace, protocol, vip().String())
	if err != nil {
		return "nothing"
	}
	defer connection.Close()
	return ask(connection)
}

// establish opens a connection and requires the server named from to answer on it.
func (n *network) establish(protocol, from string) net.Conn {
	n.t.Helper()
	connection, err := n.dial(outsideSpace, protocol, vip().String())
	require.NoError(n.t, err)
	n.t.Cleanup(func() { connection.Close() })
	require.Equal(n.t, from, ask(connection))
	return connection
}

// requireAnswers requires answer to return the value before until the duration change has passed since the move, and
// the value after from then on.
func requireAnswers(t *testing.T, moved time.Time, change time.Duration, before, after string, answer func() string) {
	t.Helper()
	for {
		elapsed := time.Since(moved)
		got := answer()
		answered := time.Since(moved)
		if got == after && before != after {
			require.GreaterOrEqual(t, answered, change, "%s answered too early", after)
			return
		}
		require.Equal(t, before, got, "%s after the move", elapsed)
		if elapsed > change+time.Second {
			require.Equal(t, before, after, "still %s %s after the move", got, elapsed)
			return
		}
		time.Sleep(tick)
	}
}

func TestNewPacketsArriveAsConfigured(t *testing.T) {
	n := newNetwork(t)
	for _, protocol := range []string{"tcp4", "udp4"} {
		for _, move := range []cloud.Move{
			{Arrive: cloud.AtOld},
			{Window: time.Second, Arrive: cloud.AtOld},
			{Window: time.Second, Arrive: cloud.AtNothing},
		} {
			t.Run(fmt.Sprintf("%s %+v", protocol, move.Text()), func(t *testing.T) {
				n.t = t
				n.apply("i-old", "i-new", cloud.Move{})
				require.Equal(t, "i-old", n.askNew(protocol))
				moved := time.Now()
				n.apply("i-new", "i-old", move)
				before := map[cloud.Arrival]string{cloud.AtOld: "i-old", cloud.AtNothing: "nothing"}[move.Arrive]
				if move.Window == 0 {
					before = "i-new"
				}
				requireAnswers(t, moved, move.Window, before, "i-new", func() string { return n.askNew(protocol) })
			})
		}
	}
}

func TestEstablishedConnectionsLastAsConfigured(t *testing.T) {
	n := newNetwork(t)
	for _, move := range []cloud.Move{
		{},
		{Connections: time.Second},
		{Connections: cloud.UntilEnd},
		{Window: 2 * time.Second, Arrive: cloud.AtNothing, Connections: time.Second},
		{Window: 2 * time.Second, Arrive: cloud.AtOld},
	} {
		t.Run(fmt.Sprintf("%+v", move.Text()), func(t *testing.T) {
			n.t = t
			n.apply("i-old", "i-new", cloud.Move{})
			established := n.establish("tcp4", "i-old")
			moved := time.Now()
			n.apply("i-new", "i-old", move)
			if move.Connections == cloud.UntilEnd {
				requireAnswers(t, moved, time.Second, "i-old", "i-old", func() string { return ask(established) })
				n.apply("i-new", "", move)
				require.Equal(t, "reset", ask(established), "the new server does not know the connection")
				return
			}
			// While a window drops all packets, it also drops the reset that ends a connection.
			end := "reset"
			if move.Arrive == cloud.AtNothing && move.Window > move.Connections {
				end = "nothing"
			}
			requireAnswers(t, moved, move.Connections, "i-old", end, func() string { return ask(established) })
		})
	}
}

func TestConnectionOpenedDuringWindowOutlivesIt(t *testing.T) {
	n := newNetwork(t)
	n.apply("i-old", "i-new", cloud.Move{})
	moved := time.Now()
	move := cloud.Move{Window: time.Second, Arrive: cloud.AtOld}
	n.apply("i-new", "i-old", move)
	established := n.establish("tcp4", "i-old")
	requireAnswers(t, moved, move.Window, "i-old", "i-new", func() string { return n.askNew("tcp4") })
	require.Equal(t, "i-old", ask(established))
	n.apply("i-new", "", move)
	require.Equal(t, "reset", ask(established))
	require.Equal(t, "i-new", n.askNew("tcp4"))
}

func TestConnectionsSurviveAddressReturning(t *testing.T) {
	n := newNetwork(t)
	n.apply("i-old", "i-new", cloud.Move{})
	established, idle := n.establish("tcp4", "i-old"), n.establish("tcp4", "i-old")
	move := cloud.Move{Connections: time.Second}
	n.apply("i-new", "i-old", move)
	require.Equal(t, "i-old", ask(established))
	other := n.establish("tcp4", "i-new")
	returned := time.Now()
	n.apply("i-old", "i-new", move)
	require.Equal(t, "i-old", n.askNew("tcp4"))
	requireAnswers(t, returned, move.Connections, "i-new", "reset", func() string { return ask(other) })
	requireAnswers(t, returned, 2*time.Second, "i-old", "i-old", func() string { return ask(established) })

	movedAgain := time.Now()
	n.apply("i-new", "i-old", move)
	requireAnswers(t, movedAgain, move.Connections, "i-old", "reset", func() string { return ask(established) })
	require.Equal(t, "reset", ask(idle))
}

func TestInterruptedApplyCanBeRepeated(t *testing.T) {
	n := newNetwork(t)
	n.apply("i-old", "i-new", cloud.Move{})
	n.establish("tcp4", "i-old")
	before := n.record
	move := cloud.Move{Window: time.Second, Arrive: cloud.AtOld, Connections: time.Minute}
	n.apply("i-new", "i-old", move)
	n.record = before
	moved := time.Now()
	n.apply("i-new", "i-old", move)
	requireAnswers(t, moved, move.Window, "i-old", "i-new", func() string { return n.askNew("tcp4") })
}

func TestNewConnectionFromThePortOfAResetOneReachesTheNewInstance(t *testing.T) {
	n := newNetwork(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- forgetResets(ctx, inSpace(gatewaySpace)) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()
	require.Eventually(t, n.watchesConnections, 5*time.Second, tick/10)
	for _, move := range []cloud.Move{{}, {Connections: time.Minute}, {Connections: cloud.UntilEnd}} {
		t.Run(fmt.Sprintf("%+v", move.Text()), func(t *testing.T) {
			n.t = t
			n.apply("i-old", "i-new", cloud.Move{})
			before, after := n.establish("tcp4", "i-old"), n.establish("tcp4", "i-old")
			n.reset(before)
			n.apply("i-new", "i-old", move)
			n.requireNew(before.LocalAddr())
			if move.Connections == 0 {
				return // no connection outlives the move
			}
			n.reset(after)
			require.Eventually(t, n.noneReset, time.Second, tick/10)
			n.requireNew(after.LocalAddr())
		})
	}
}

// A visitor resets a connection while its last data is not acknowledged. The kernel then keeps the connection
// established, because the reset may be forged.
func TestNewConnectionFromThePortOfOneThatTheVisitorResetReachesTheNewInstance(t *testing.T) {
	n := newNetwork(t)
	n.apply("i-old", "i-new", cloud.Move{})
	connection := n.establish("tcp4", "i-old")
	_, err := fmt.Fprintln(connection, "late")
	require.NoError(t, err)
	n.inOld("nft", "table ip lost { chain input { type filter hook input priority 0; policy drop; }; }")
	_, err = fmt.Fprintln(connection, "who")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return unread(t, connection) > 0 }, time.Second, tick/20)
	n.inOld("nft", "add chain ip lost output { type filter hook output priority 0; policy drop; }")
	// Closing a connection with unread data resets it.
	require.NoError(t, connection.Close())
	require.Eventually(t, func() bool { return n.inOld("ss", "-Hnt", "state", "connected") == "" }, time.Second, tick/10)
	n.apply("i-new", "i-old", cloud.Move{Connections: time.Minute})
	n.inOld("nft", "delete table ip lost")
	n.requireNew(connection.LocalAddr())
}

func TestNewConnectionFromThePortOfAnUnansweredAttemptReachesTheNewInstance(t *testing.T) {
	n := newNetwork(t)
	n.inOld("nft", "table ip lost { chain input { type filter hook input priority 0; policy drop; }; }")
	for i, move := range []cloud.Move{{}, {Connections: time.Minute}, {Connections: cloud.UntilEnd}} {
		t.Run(fmt.Sprintf("%+v", move.Text()), func(t *testing.T) {
			n.t = t
			n.apply("i-old", "i-new", cloud.Move{})
			local := &net.TCPAddr{Port: 20_000 + i}
			_, err := n.dialFrom(local, outsideSpace, "tcp4", vip().String())
			require.ErrorContains(t, err, "i/o timeout")
			n.apply("i-new", "i-old", move)
			n.requireNew(local)
		})
	}
}

// inOld runs a command on the old server.
func (n *network) inOld(name string, args ...string) string {
	n.t.Helper()
	output, err := inSpace("eip-i-old").Run(n.t.Context(), run.Command{Name: name, Args: args})
	require.NoError(n.t, err)
	return string(output)
}

// requireNew requires a new connection from a local address to reach the new server.
func (n *network) requireNew(local net.Addr) {
	n.t.Helper()
	connection, err := n.dialFrom(local, outsideSpace, "tcp4", vip().String())
	require.NoError(n.t, err)
	defer connection.Close()
	require.Equal(n.t, "i-new", ask(connection))
}

// unread returns the number of bytes that a connection has received and the program has not read.
func unread(t *testing.T, connection net.Conn) (count int) {
	t.Helper()
	raw, err := connection.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) { count, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }))
	require.NoError(t, err)
	return count
}

func TestKernelReportsOnlyResetConnections(t *testing.T) {
	n := newNetwork(t)
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := make(chan string, 10), make(chan struct{})
	go func() {
		defer close(ended)
		_, err := inSpace(gatewaySpace).Run(ctx, run.Command{
			Name: "conntrack", Args: []string{"--event", "--event-mask", "UPDATES"},
			Stream: writeFunc(func(line []byte) error { events <- string(line); return nil }),
		})
		if ctx.Err() == nil {
			t.Error(err)
		}
	}()
	defer func() { cancel(); <-ended }()
	require.Eventually(t, n.watchesConnections, 5*time.Second, tick/10)
	n.apply("i-old", "i-new", cloud.Move{})
	connection := n.establish("tcp4", "i-old")
	n.apply("i-new", "i-old", cloud.Move{Connections: cloud.UntilEnd})
	n.reset(connection)
	select {
	case first := <-events:
		require.Contains(t, first, fmt.Sprintf("mark=%d", resetMark), "the first event")
	case <-time.After(5 * time.Second):
		t.Fatal("no event")
	}
}

// reset makes the server reset a connection.
func (n *network) reset(connection net.Conn) {
	n.t.Helper()
	_, err := fmt.Fprintln(connection, "reset")
	require.NoError(n.t, err)
	_, err = connection.Read(make([]byte, 1))
	require.ErrorIs(n.t, err, syscall.ECONNRESET)
}

// watchesConnections reports that a program in the gateway's namespace receives events of Netfilter.
func (n *network) watchesConnections() bool {
	output, err := inSpace(gatewaySpace).Run(n.t.Context(), run.Command{Name: "cat", Args: []string{"/proc/net/netlink"}})
	require.NoError(n.t, err)
	return slices.ContainsFunc(strings.Split(string(output), "\n"), func(line string) bool {
		columns := strings.Fields(line) // the second is the protocol, the fourth the groups
		return len(columns) > 3 && columns[1] == strconv.Itoa(syscall.NETLINK_NETFILTER) && columns[3] != "00000000"
	})
}

// noneReset reports that the gateway has no entry of a reset connection.
func (n *network) noneReset() bool {
	output, err := inSpace(gatewaySpace).Run(n.t.Context(), run.Command{
		Name: "conntrack", Args: []string{"--dump", "--proto", "tcp", "--state", "CLOSE"},
	})
	return err == nil && len(output) == 0
}

func TestOutboundConnectionLastsAsConfigured(t *testing.T) {
	n := newNetwork(t)
	serveID(t, outsideSpace, "the internet")
	n.apply("i-old", "i-new", cloud.Move{})
	established, err := n.dial("eip-i-old", "tcp4", "198.18.0.1")
	require.NoError(t, err)
	defer established.Close()
	require.Equal(t, "the internet", ask(established))
	moved := time.Now()
	n.apply("i-new", "i-old", cloud.Move{Window: time.Second, Arrive: cloud.AtNothing, Connections: 2 * time.Second})
	// The old server has no other public address here, so its packets are no longer routed.
	requireAnswers(t, moved, 2*time.Second, "the internet", "nothing", func() string { return ask(established) })
	throughNew, err := n.dial("eip-i-new", "tcp4", "198.18.0.1")
	require.NoError(t, err)
	defer throughNew.Close()
	require.Equal(t, "the internet", ask(throughNew))
}
