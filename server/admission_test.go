package server

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/internal/testtool/netns"
)

// slots and active are the limits of pending and of active connections in admission.nft.
const (
	slots  = 128
	active = 192
)

// admission is a visitor, a router with the rules of admission.nft, and a web server behind it, each in a network
// namespace of its own.
type admission struct {
	*testing.T
	prefix string
}

func newAdmission(t *testing.T) *admission {
	t.Helper()
	testtool.Path(t, "nft")
	a := &admission{T: t, prefix: "admission-" + strconv.Itoa(os.Getpid()) + "-"}
	netns.Add(t, a.prefix+"visitor", a.prefix+"router", a.prefix+"web")
	for i, name := range []string{"visitor", "web"} {
		host, router := fmt.Sprintf("10.0.%d.2", i), fmt.Sprintf("10.0.%d.1", i)
		a.run("ip", "-n", a.prefix+"router", "link", "add", name, "type", "veth",
			"peer", "name", "eth0", "netns", a.prefix+name)
		a.run("ip", "-n", a.prefix+"router", "address", "add", router+"/24", "dev", name)
		a.run("ip", "-n", a.prefix+"router", "link", "set", name, "up")
		a.run("ip", "-n", a.prefix+name, "address", "add", host+"/24", "dev", "eth0")
		a.run("ip", "-n", a.prefix+name, "link", "set", "eth0", "up")
		a.run("ip", "-n", a.prefix+name, "route", "add", "default", "via", router)
	}
	a.onRouter("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	a.onRouter("nft", "-f", "files/admission.nft")
	return a
}

func (a *admission) run(name string, args ...string) string {
	a.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(a, err, "%s %s: %s", name, strings.Join(args, " "), output)
	return string(output)
}

// onRouter runs a command in the router's network.
func (a *admission) onRouter(command ...string) string {
	a.Helper()
	return a.run("ip", append([]string{"netns", "exec", a.prefix + "router"}, command...)...)
}

// serve accepts connections at a port, and handles each in a goroutine of its own before it is closed.
func (a *admission) serve(port string, handle func(net.Conn)) {
	var listener net.Listener
	var err error
	netns.In(a, a.prefix+"web", func() { listener, err = net.Listen("tcp", "10.0.1.2:"+port) })
	require.NoError(a, err)
	require.NotNil(a, listener)
	a.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				handle(connection)
			}()
		}
	}()
}

// answering responds to the data of each connection.
func answering(connection net.Conn) {
	for {
		if n, _ := connection.Read(make([]byte, 2000)); n == 0 {
			return
		}
		connection.Write(make([]byte, 200))
	}
}

// refused requires the number of refused connections, as a regular expression.
func (a *admission) refused(count string) {
	a.Helper()
	require.Regexp(a, "packets "+count+" ", a.onRouter("nft", "list", "counter", "ip", "admission", "refused"))
}

// visit connects, and twice sends data and awaits the response: a handshake and a request.
func (a *admission) visit() error { return a.visitPort("8443") }

func (a *admission) visitPort(port string) error {
	connection, err := a.open(port)
	if err == nil {
		connection.Close()
	}
	return err
}

func (a *admission) dial(port string) (connection net.Conn, err error) {
	netns.In(a, a.prefix+"visitor", func() {
		connection, err = net.DialTimeout("tcp", "10.0.1.2:"+port, 10*time.Second)
	})
	return connection, err
}

// open is a visit that keeps its connection.
func (a *admission) open(port string) (connection net.Conn, err error) {
	if connection, err = a.dial(port); err != nil {
		return nil, err
	}
	for range 2 {
		if err := ask(connection); err != nil {
			connection.Close()
			return nil, err
		}
	}
	return connection, nil
}

// abandon sends two messages, and resets the connection without a response.
func (a *admission) abandon(port string) {
	a.Helper()
	connection, err := a.dial(port)
	require.NoError(a, err)
	for range 2 {
		_, err = connection.Write(make([]byte, 300))
		require.NoError(a, err)
	}
	reset(a, connection)
}

// reset closes a connection as a client does that has not read everything.
func reset(t testing.TB, connection net.Conn) {
	t.Helper()
	require.NoError(t, connection.(*net.TCPConn).SetLinger(0))
	require.NoError(t, connection.Close())
}

// occupied is the number of slots of a set that are taken.
func (a *admission) occupied(set string) int {
	a.Helper()
	return strings.Count(a.onRouter("nft", "list", "set", "ip", "admission", set), "expires")
}

// ask sends a request and awaits the response.
func ask(connection net.Conn) error {
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := connection.Write(make([]byte, 300)); err != nil {
		return err
	}
	_, err := connection.Read(make([]byte, 200))
	return err
}

func TestConnectionsBeyondTheFreeSlotsAreReset(t *testing.T) {
	a := newAdmission(t)
	respond := make(chan struct{})
	a.serve("8443", func(connection net.Conn) {
		<-respond
		answering(connection)
	})
	results := make(chan error)
	for range slots + 20 {
		go func() { results <- a.visit() }()
	}
	// The others are reset before the three seconds for which a connection keeps its slot.
	for range 20 {
		require.ErrorIs(t, <-results, syscall.ECONNRESET)
	}
	close(respond)
	for range slots {
		require.NoError(t, <-results, "a connection that was admitted is answered")
	}
	a.refused(`(2\d|[3-9]\d)`)
}

func TestFirstResponseFreesTheSlot(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", answering)
	for range 4 * slots {
		require.NoError(t, a.visit())
	}
}

func TestSilentConnectionsHoldTheirSlotsBriefly(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", answering)
	for range 3 * slots {
		silent, err := a.dial("8443")
		require.NoError(t, err)
		t.Cleanup(func() { silent.Close() })
	}
	began := time.Now()
	require.NoError(t, a.visit(), "a visitor who comes at the same time waits")
	require.Less(t, time.Since(began), 3*time.Second)
}

func TestConnectionThatTheServerClosesFreesItsSlot(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", answering)
	a.serve("8080", func(connection net.Conn) { connection.Read(make([]byte, 10)) })
	for range 3 * slots {
		require.Error(t, a.visitPort("8080"), "the server only closes")
	}
	require.NoError(t, a.visit())
	a.refused("0")
}

func TestConnectionThatTheClientResetsFreesItsSlots(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", answering)
	a.serve("8080", func(connection net.Conn) { io.Copy(io.Discard, connection) })
	const visitors = slots / 2
	for range visitors {
		answered, err := a.open("8443")
		require.NoError(t, err)
		reset(t, answered)
		a.abandon("8080")
	}
	require.Less(t, a.occupied("active"), visitors/2)
	require.Less(t, a.occupied("pending"), visitors/2)
}

func TestVanishedClientsAreForgotten(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", answering)
	silent, err := a.dial("8443")
	require.NoError(t, err)
	t.Cleanup(func() { silent.Close() })
	tracked := a.onRouter("cat", "/proc/net/nf_conntrack")
	found := regexp.MustCompile(`tcp +6 (\d+) ESTABLISHED`).FindStringSubmatch(tracked)
	require.NotNil(t, found, tracked)
	seconds, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	require.LessOrEqual(t, seconds, 300)
}

func TestConnectionsBeyondTheActiveOnesAreReset(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", answering)
	kept := make([]net.Conn, 2*active)
	for i := range kept {
		// Idle ones make room for the next.
		require.Eventually(t, func() (ok bool) {
			var err error
			kept[i], err = a.open("8443")
			return err == nil
		}, 10*time.Second, time.Millisecond)
		t.Cleanup(func() { kept[i].Close() })
	}

	var answered, reset atomic.Int32
	var visitors sync.WaitGroup
	for _, connection := range kept {
		visitors.Go(func() {
			for until := time.Now().Add(4 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
				if err := ask(connection); err != nil {
					assert.ErrorIs(t, err, syscall.ECONNRESET)
					reset.Add(1)
					return
				}
			}
			answered.Add(1)
		})
	}
	visitors.Wait()
	require.EqualValues(t, active, answered.Load())
	require.EqualValues(t, active, reset.Load())
	require.Eventually(t, func() bool { return a.visit() == nil }, 5*time.Second, 10*time.Millisecond)
}
