package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// places is the limit of arrivals in admission.nft.
const places = 128

// admission is a visitor, a router with the rules of admission.nft, and a web server behind it, each in a network
// namespace of its own.
type admission struct {
	*testing.T
	prefix string
}

func newAdmission(t *testing.T) *admission {
	t.Helper()
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil || os.Geteuid() != 0 {
			t.Skip("needs root and the programs ip and nft, to make network namespaces")
		}
	}
	a := &admission{T: t, prefix: "admission-" + strconv.Itoa(os.Getpid()) + "-"}
	for _, name := range []string{"visitor", "router", "web"} {
		a.run("ip", "netns", "add", a.prefix+name)
		t.Cleanup(func() { a.run("ip", "netns", "del", a.prefix+name) })
	}
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
	a.run("ip", "netns", "exec", a.prefix+"router", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	a.run("ip", "netns", "exec", a.prefix+"router", "nft", "-f", "files/admission.nft")
	return a
}

func (a *admission) run(name string, args ...string) string {
	a.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(a, err, "%s %s: %s", name, strings.Join(args, " "), output)
	return string(output)
}

// in runs f on a thread in the namespace: a socket stays in the one where it was made.
func (a *admission) in(name string, f func()) {
	var done sync.WaitGroup
	done.Go(func() {
		// Not unlocked, so that the thread ends with the goroutine.
		runtime.LockOSThread()
		namespace, err := os.Open("/run/netns/" + a.prefix + name)
		if err == nil {
			err = errors.Join(unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET), namespace.Close())
		}
		if err != nil {
			a.Error(err)
			return
		}
		f()
	})
	done.Wait()
}

// serve accepts connections and responds to the data of each after it received from the channel.
func (a *admission) serve(respond <-chan struct{}) {
	var listener net.Listener
	a.in("web", func() {
		var err error
		listener, err = net.Listen("tcp", "10.0.1.2:8443")
		if err != nil {
			a.Error(err)
		}
	})
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
				for {
					if n, _ := connection.Read(make([]byte, 2000)); n == 0 {
						return
					}
					<-respond
					connection.Write(make([]byte, 200))
				}
			}()
		}
	}()
}

// visit connects, and twice sends data and awaits the response: a handshake and a request.
func (a *admission) visit() error { return a.visitPort("8443") }

func (a *admission) visitPort(port string) error {
	var connection net.Conn
	var err error
	a.in("visitor", func() { connection, err = net.DialTimeout("tcp", "10.0.1.2:"+port, 10*time.Second) })
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	for range 2 {
		if _, err := connection.Write(make([]byte, 300)); err != nil {
			return err
		}
		if _, err = connection.Read(make([]byte, 200)); err != nil {
			return err
		}
	}
	return nil
}

func TestConnectionsBeyondTheFreePlacesAreReset(t *testing.T) {
	a := newAdmission(t)
	respond := make(chan struct{})
	a.serve(respond)
	results := make(chan error)
	for range places + 20 {
		go func() { results <- a.visit() }()
	}
	// Their places are kept for three seconds, and the others are reset before.
	for range 20 {
		require.ErrorIs(t, <-results, syscall.ECONNRESET)
	}
	close(respond)
	for range places {
		require.NoError(t, <-results, "a connection that was admitted is answered")
	}
	require.Regexp(t, `packets (2\d|[3-9]\d) `,
		a.run("ip", "netns", "exec", a.prefix+"router", "nft", "list", "counter", "ip", "admission", "refused"))
}

func TestAPlaceIsFreeAgainWithTheFirstResponse(t *testing.T) {
	a := newAdmission(t)
	respond := make(chan struct{})
	close(respond)
	a.serve(respond)
	for range 4 * places {
		require.NoError(t, a.visit())
	}
}

func TestTheFullSetIsSoonFreeOfVisitorsWhoSayNothing(t *testing.T) {
	a := newAdmission(t)
	respond := make(chan struct{})
	close(respond)
	a.serve(respond)
	for range 3 * places {
		a.in("visitor", func() {
			silent, err := net.Dial("tcp", "10.0.1.2:8443")
			if err != nil {
				a.Error(err)
				return
			}
			a.Cleanup(func() { silent.Close() })
		})
	}
	began := time.Now()
	require.NoError(t, a.visit(), "a visitor who comes at the same time waits")
	require.Less(t, time.Since(began), 3*time.Second)
}

func TestAConnectionThatTheServerEndsFreesItsPlace(t *testing.T) {
	a := newAdmission(t)
	respond := make(chan struct{})
	close(respond)
	a.serve(respond)
	a.in("web", func() {
		listener, err := net.Listen("tcp", "10.0.1.2:8080")
		if err != nil {
			a.Error(err)
			return
		}
		a.Cleanup(func() { listener.Close() })
		go func() {
			for {
				connection, err := listener.Accept()
				if err != nil {
					return
				}
				connection.Read(make([]byte, 10))
				connection.Close()
			}
		}()
	})
	for range 3 * places {
		require.Error(t, a.visitPort("8080"), "the server only closes")
	}
	require.NoError(t, a.visit())
	require.Contains(t,
		a.run("ip", "netns", "exec", a.prefix+"router", "nft", "list", "counter", "ip", "admission", "refused"), "packets 0 ")
}
