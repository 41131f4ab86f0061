package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
	"immutable-infra/internal/testtool"
)

// address is a TCP proxy in front of two servers, like an Elastic IP. It moves after it has accepted a number of
// connections.
type address struct {
	net.Listener
	t        *testing.T
	servers  [2]string
	moveAt   int64
	accepted atomic.Int64
	// cuts makes the move reset the connections to the old server. Otherwise they stay open.
	cuts bool

	mutex sync.Mutex
	open  []net.Conn
	ended sync.WaitGroup
}

func newAddress(t *testing.T, moveAt int64, cuts bool, from, to testsite.Site) *address {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a := &address{Listener: listener, t: t, servers: [2]string{from.Address.String(), to.Address.String()}, moveAt: moveAt,
		cuts: cuts}
	a.ended.Go(a.serve)
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		a.cut()
		a.ended.Wait()
	})
	return a
}

func (a *address) serve() {
	for {
		client, err := a.Accept()
		if err != nil {
			return
		}
		to := a.servers[0]
		if count := a.accepted.Add(1); count > a.moveAt {
			if to = a.servers[1]; count == a.moveAt+1 && a.cuts {
				a.cut()
			}
		}
		server, err := net.Dial("tcp", to)
		if err != nil {
			client.Close()
			continue
		}
		a.mutex.Lock()
		a.open = append(a.open, client, server)
		a.mutex.Unlock()
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			a.ended.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // until either side ends
				pair[0].Close()
				pair[1].Close()
			})
		}
	}
}

// cut resets all connections.
func (a *address) cut() {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	for _, connection := range a.open {
		// An error means that it is already closed.
		_ = connection.(*net.TCPConn).SetLinger(0)
		connection.Close()
	}
	a.open = nil
}

// deployed puts a fake Pulumi first on the PATH. Its stack production has a site that moves from server i-old to i-new.
func deployed(t *testing.T, cuts bool, outputs map[string]string) (arguments []string, variables map[string]string) {
	t.Helper()
	from := testsite.Start(t, "localhost", testsite.Serving(serverOld, "r-1"))
	to := testsite.Start(t, "localhost", testsite.Serving(serverNew, "r-1"))
	a := newAddress(t, 60, cuts, from, to)
	var roots []byte
	for _, site := range []testsite.Site{from, to} {
		content, err := os.ReadFile(site.Roots)
		require.NoError(t, err)
		roots = append(roots, content...)
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "roots.pem"), roots, 0o600))
	all := map[string]string{"url": "https://localhost/", "vip": "127.0.0.1", "serverId": serverOld}
	for name, value := range outputs {
		all[name] = value
	}
	encoded, err := json.Marshal(all)
	require.NoError(t, err)
	script(t, dir, "pulumi", fmt.Sprintf(`case "$*" in
"stack output --json --stack production --non-interactive") echo '%s';;
"config --json --stack production --non-interactive")
  echo '{"immutable-infra:acmeCA": {"value": "%s/roots.pem"}, "aws:region": {"value": "eu-central-1"}}';;
"stack export --stack production --non-interactive")
  echo '{"deployment": {"resources": [{"type": "pulumi:pulumi:Stack", "outputs": {"vip": "127.0.0.1"}},
    {"type": "aws:ec2/eip:Eip", "id": "eipalloc-1", "outputs": {"publicIp": "127.0.0.1"}}]}}';;
*) echo "error: no stack named so: $*" >&2; exit 255;;
esac`, encoded, dir))
	script(t, dir, "aws", "echo not logged in >&2; exit 1")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))

	ec2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("AllocationId.1") != "eipalloc-1" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		holder := serverOld
		if a.accepted.Load() > a.moveAt {
			holder = serverNew
		}
		fmt.Fprintf(w, "<DescribeAddressesResponse><addressesSet><item><instanceId>%s</instanceId></item></addressesSet>"+
			"</DescribeAddressesResponse>", holder)
	}))
	t.Cleanup(ec2.Close)
	_, port, err := net.SplitHostPort(a.Addr().String())
	require.NoError(t, err)
	arguments = []string{
		"--stack", "production", "--port", port, "--interval", "5ms", "--kept-interval", "50ms", "--after", "1s",
	}
	return arguments, map[string]string{
		"AWS_ENDPOINT_URL_EC2": ec2.URL, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
	}
}

func script(t *testing.T, dir, name, lines string) {
	t.Helper()
	testtool.WriteProgram(t, filepath.Join(dir, name), "#!/bin/sh\n"+lines+"\n")
}

// measureWith runs the command with environment variables.
func measureWith(t *testing.T, variables map[string]string, arguments ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, progress bytes.Buffer
	code = run(t.Context(), arguments, func(name string) string { return variables[name] }, strings.NewReader(""), &out,
		&progress)
	return code, out.String(), progress.String()
}

// results holds the parts of the JSON file that tests compare.
type results struct {
	Old, New    string
	Association *struct{ Server string }
	Phases      []struct {
		Sent, Old, New, Others, Refused, TimedOut, Reset, OtherFailures int
	}
	Fresh []struct {
		Number  int
		Server  string
		Failure string
	}
	Kept []struct {
		Visitor, Asked int
		EndedBy        string
		Answers        map[string]int
	}
}

func TestMoveIsMeasuredOverRealConnections(t *testing.T) {
	for name, cuts := range map[string]bool{"connections stay open": false, "connections are cut": true} {
		t.Run(name, func(t *testing.T) {
			arguments, variables := deployed(t, cuts, nil)
			if !cuts {
				// The old server never stops: the measurement ends at its limit.
				arguments = append(arguments, "--limit", "3s")
			}
			file := filepath.Join(t.TempDir(), "move.json")
			code, stdout, stderr := measureWith(t, variables, append(arguments, "--json", file)...)
			require.Equal(t, exitMeasured, code, stderr)
			require.Contains(t, stderr, "now move the address in another terminal")
			require.Contains(t, stderr, "EC2's API names i-new")
			require.Contains(t, stdout, "# localhost at 127.0.0.1, stack production\n")
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			var r results
			require.NoError(t, json.Unmarshal(content, &r))
			require.Equal(t, []string{serverOld, serverNew, serverNew}, []string{r.Old, r.New, r.Association.Server})
			servers := map[string]int{}
			for i, request := range r.Fresh {
				require.Equal(t, i+1, request.Number)
				servers[request.Server]++
			}
			require.Positive(t, servers[serverOld])
			require.Positive(t, servers[serverNew])
			sent := 0
			for _, phase := range r.Phases {
				sent += phase.Sent
			}
			require.Len(t, r.Fresh, sent)
			ends := map[string]int{}
			for _, kept := range r.Kept {
				require.LessOrEqual(t, len(kept.Answers), 1, "a connection has one server")
				if kept.Answers[serverOld] > 0 {
					ends[kept.EndedBy]++
				}
			}
			// On a busy machine, some visitors may not have connected before the move.
			require.Len(t, ends, 1)
			if cuts {
				require.Positive(t, ends[kindReset])
			} else {
				require.Positive(t, ends[endOpen])
				require.Empty(t, servers[""], "no request failed")
			}
		})
	}
}

func TestMeasurementWaitsForTheCommand(t *testing.T) {
	arguments, _ := deployed(t, true, nil)
	code, stdout, stderr := measureWith(t, nil, append(arguments, "--", "sh", "-c", "echo moving")...)
	require.Equal(t, exitMeasured, code, stderr)
	require.Contains(t, stderr, "\nmoving\n")
	require.Contains(t, stderr, "the command has ended")
	require.Contains(t, stderr, "measuring without EC2's API: cannot find AWS credentials")
	require.NotContains(t, stdout, "moving")
	require.Contains(t, stdout, "the first request that i-old does not answer")

	arguments, _ = deployed(t, true, nil)
	code, stdout, stderr = measureWith(t, nil, append(arguments, "--", "sh", "-c", "exit 3")...)
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "sh -c exit 3: exit status 3")
	require.Contains(t, stdout, "| before |", "the measurements are printed")
}

func TestStackThatCannotBeMeasuredIsAnError(t *testing.T) {
	for message, test := range map[string]struct {
		outputs   map[string]string
		arguments []string
	}{
		"cannot read the outputs of stack staging: pulumi stack: exit status 255; log in": {
			nil, []string{"--stack", "staging"}},
		"stack production has no output serverId; deploy it first: pulumi up --stack production": {
			map[string]string{"serverId": ""}, nil},
		"server i-old answers, but the stack's outputs name i-3": {map[string]string{"serverId": "i-3"}, nil},
		"certificate is valid for localhost, not example.com":    {map[string]string{"url": "https://example.com/"}, nil},
		"the site does not answer: dial tcp 127.0.0.1:1":         {nil, []string{"--port", "1"}},
		"open /nowhere/move.json":                                {nil, []string{"--json", "/nowhere/move.json"}},
		`exec: "no-such-program"`:                                {nil, []string{"--", "no-such-program"}},
		"the address did not move":                               {nil, []string{"--limit", "100ms"}},
	} {
		t.Run(message, func(t *testing.T) {
			arguments, variables := deployed(t, true, test.outputs)
			code, _, stderr := measureWith(t, variables, append(arguments, test.arguments...)...)
			require.Equal(t, exitFailed, code)
			require.Contains(t, stderr, "cannot measure a move of stack ")
			require.Contains(t, stderr, message)
		})
	}
}

func TestInvalidCommandLineErrorSaysWhatToWrite(t *testing.T) {
	for message, arguments := range map[string][]string{
		"--stack is missing":           {},
		"--interval is 0s":             {"--stack", "test", "--interval", "0s"},
		"--in-flight is 0":             {"--stack", "test", "--in-flight", "0"},
		"--kept is -1":                 {"--stack", "test", "--kept", "-1"},
		"--port is 65536":              {"--stack", "test", "--port", strconv.Itoa(1 << 16)},
		"flag provided but not define": {"--stck", "test"},
	} {
		code, _, stderr := measureWith(t, nil, arguments...)
		require.Equal(t, exitUsage, code)
		require.Contains(t, stderr, message)
	}
}
