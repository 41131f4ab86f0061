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

// slots and active are the limits for pending and for active connections in admission.nft.
const (
	slots  = 128
	active = 192
)

// admission is a visitor, a router with the rules of admission.nft, and a web server behind it, each in its own network
// namespace.
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

// onRouter runs a command in the router's network namespace.
func (a *admission) onRouter(command ...string) string {
	a.Helper()
	return a.run("ip", append([]string{"netns", "exec", a.prefix + "router"}, command...)...)
}

// serve accepts connections at a port, calls handle for each in a new goroutine, and then closes it.
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

// respond responds to all data on a connection.
func respond(connection net.Conn) {
	for {
		if n, _ := connection.Read(make([]byte, 2000)); n == 0 {
			return
		}
		connection.Write(make([]byte, 200))
	}
}

// requireRefused requires that the number of refused connections matches a regular expression.
func (a *admission) requireRefused(count string) {
	a.Helper()
	require.Regexp(a, "packets "+count+" ", a.onRouter("nft", "list", "counter", "ip", "admission", "refused"))
}

// visit connects, and then twice sends data and waits for the response, as in a handshake and a request.
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

// open is like visit, but keeps the connection open.
func (a *admission) open(port string) (connection net.Conn, err error) {
	if connection, err = a.dial(port); err != nil {
		return nil, err
	}
	for range 2 {
		if err := exchange(connection); err != nil {
			connection.Close()
			return nil, err
		}
	}
	return connection, nil
}

// abandon sends two messages, and resets the connection without waiting for a response.
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

// reset closes a connection like a client that has not read all data.
func reset(t testing.TB, connection net.Conn) {
	t.Helper()
	require.NoError(t, connection.(*net.TCPConn).SetLinger(0))
	require.NoError(t, connection.Close())
}

// occupied returns the number of entries in a set.
func (a *admission) occupied(set string) int {
	a.Helper()
	return strings.Count(a.onRouter("nft", "list", "set", "ip", "admission", set), "expires")
}

// exchange sends a request and waits for the response.
func exchange(connection net.Conn) error {
	if err := send(connection); err != nil {
		return err
	}
	return receive(connection)
}

func send(connection net.Conn) error {
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	_, err := connection.Write(make([]byte, 300))
	return err
}

func receive(connection net.Conn) error {
	_, err := connection.Read(make([]byte, 200))
	return err
}

func TestConnectionsBeyondTheFreeSlotsAreReset(t *testing.T) {
	a := newAdmission(t)
	begin := make(chan struct{})
	a.serve("8443", func(connection net.Conn) {
		<-begin
		respond(connection)
	})
	results := make(chan error)
	// One thread starts all connections, so that none starts late and finds a slot that has expired.
	netns.In(a, a.prefix+"visitor", func() {
		for range slots + 20 {
			connection, err := net.Dial("tcp", "10.0.1.2:8443")
			if !assert.NoError(a, err) || !assert.NoError(a, send(connection)) {
				return
			}
			go func() {
				defer connection.Close()
				err := receive(connection)
				if err == nil {
					err = exchange(connection)
				}
				results <- err
			}()
		}
	})
	require.False(a, a.Failed())
	// The others are reset within the three seconds for which a silent connection keeps its slot.
	for range 20 {
		require.ErrorIs(t, <-results, syscall.ECONNRESET)
	}
	close(begin)
	for range slots {
		require.NoError(t, <-results, "an admitted connection gets its responses")
	}
	a.requireRefused(`(2\d|[3-9]\d)`)
}

func TestFirstResponseFreesTheSlot(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", respond)
	for range 4 * slots {
		require.NoError(t, a.visit())
	}
}

func TestSilentConnectionsHoldTheirSlotsBriefly(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", respond)
	for range 3 * slots {
		silent, err := a.dial("8443")
		require.NoError(t, err)
		t.Cleanup(func() { silent.Close() })
	}
	began := time.Now()
	require.NoError(t, a.visit(), "a visitor who arrives at the same time waits")
	require.Less(t, time.Since(began), 3*time.Second)
}

func TestConnectionThatTheServerClosesFreesItsSlot(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", respond)
	a.serve("8080", func(connection net.Conn) { connection.Read(make([]byte, 10)) })
	for range 3 * slots {
		require.Error(t, a.visitPort("8080"), "the server closes the connection without a response")
	}
	require.NoError(t, a.visit())
	a.requireRefused("0")
}

func TestConnectionThatTheClientResetsFreesItsSlots(t *testing.T) {
	a := newAdmission(t)
	a.serve("8443", respond)
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
	a.serve("8443", respond)
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
	a.serve("8443", respond)
	kept := make([]net.Conn, 2*active)
	for i := range kept {
		// Idle connections make room for the next ones.
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
				if err := exchange(connection); err != nil {
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
