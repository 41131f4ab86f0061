package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// drainTime is how long requests in flight may continue after the end of the bake.
	drainTime = time.Minute
	// drainSlack is the tolerance for a later deletion on a busy machine.
	drainSlack = 45 * time.Second
	// downloadSize is the size of the file, in bytes. A download at slowPace outlasts the longest update.
	downloadSize = 64 << 20
	// slowPace and fastPace are the bytes that a visitor reads per second. At fastPace, the buffers on the path are empty
	// within a fraction of a second.
	slowPace, fastPace = 64 << 10, 1 << 20
	// fullPace means no limit.
	fullPace = 0
	// socketBuffer is the receive buffer of a download, in bytes. It is small, so that data is read right after the
	// server has sent it.
	socketBuffer = 16 << 10
)

// TestDrain downloads from a server while another one replaces it.
func TestDrain(t *testing.T) {
	if os.Getenv("E2E") != "drain" {
		t.Skip("needs a local cloud that is up and takes five to ten minutes: make test-drain")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	p.converges(t)
	// Connections to the old server live as long as the server does.
	localcloud := filepath.Join(p.home(), "bin", "localcloud")
	settings := strings.Fields(p.must(t, time.Minute, localcloud, "move"))
	p.must(t, time.Minute, localcloud, "move", "-connections", "end")
	t.Cleanup(func() { p.must(t, time.Minute, localcloud, append([]string{"move"}, settings...)...) })

	replaced := p.copy(t)
	content := make([]byte, downloadSize)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never fails
	digest := sha256.Sum256(content)
	writeFile(t, filepath.Join(replaced.dir, "site", "assets", "download.bin"), content)
	uploaded := replaced.pulumiUp(t)
	require.NoError(t, uploaded.err, uploaded.String())
	before := replaced.outputs(t)

	patient, endless := replaced.download(t), replaced.download(t)
	// The shutdown ends this SSH session at once.
	session := append(replaced.sshArgs(t, before, nil, "admin"), "sleep 900")
	loggedOut := make(chan result, 1)
	go func() { loggedOut <- replaced.run(t, 15*time.Minute, "ssh", session...) }()

	replaced.set(t, "generation", firstGeneration+1)
	up := replaced.startUp(t)
	baked := regexp.MustCompile(`\d+ visits in \d+ s, of which \d+ failed`)
	eventually(t, bootTimeout, func() (bool, string) {
		select {
		case err := <-up.ended:
			require.Failf(t, "the update ended before the bake", "%v\n%s", err, up.output(t))
		default:
		}
		return baked.MatchString(up.output(t)), up.output(t)
	})
	bakeEnd := time.Now()
	at := func(after time.Duration) <-chan time.Time { return time.After(time.Until(bakeEnd.Add(after))) }

	<-at(drainTime / 3)
	server, _ := replaced.served(t)
	require.NotEqual(t, before.ServerID, server, "new connections reach the new server")
	require.Empty(t, up.ended, "the update waits for the old server")
	patient.pace.Store(fullPace)
	ended := <-patient.ended
	require.NoError(t, ended.err, "%d bytes", ended.bytes)
	require.Equal(t, digest, ended.digest)
	require.Less(t, ended.at.Sub(bakeEnd), drainTime)

	endless.pace.Store(fastPace)
	ended = <-endless.ended
	took := ended.at.Sub(bakeEnd)
	t.Logf("the other download was cut %.1f s after the bake, after %d bytes: %v", took.Seconds(), ended.bytes, ended.err)
	require.Error(t, ended.err, "the file is too small for this test")
	require.Greater(t, took, drainTime)
	require.Less(t, took, drainTime+drainSlack)

	select {
	case err := <-up.ended:
		require.NoError(t, err, up.output(t))
	case <-at(2*drainTime + drainSlack):
		require.Fail(t, "the update waits for a server without connections", up.output(t))
	}
	t.Logf("the update ended %.1f s after the bake", time.Since(bakeEnd).Seconds())
	require.Error(t, (<-loggedOut).err, "the session outlived the server")
	replaced.converged(t)
	p.converges(t)
}

// download is a download of the file on its own connection.
type download struct {
	// pace is the number of bytes read per second; fullPace means no limit.
	pace  atomic.Int64
	ended chan downloaded
}

// downloaded is the result of a download.
type downloaded struct {
	at     time.Time
	bytes  int
	digest [sha256.Size]byte
	err    error
}

// download starts a download at slowPace, which is in progress when download returns.
func (p *project) download(t *testing.T) *download {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, connection syscall.RawConn) error {
		var problem error
		err := connection.Control(func(fd uintptr) {
			// This must precede the connect, because the TCP window depends on it.
			problem = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, socketBuffer)
		})
		return errors.Join(err, problem)
	}}
	client := &http.Client{Transport: &http.Transport{
		DialContext:     dialer.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: p.roots(t)},
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+"/assets/download.bin", nil)
	require.NoError(t, err)
	response, err := client.Do(request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.EqualValues(t, downloadSize, response.ContentLength)
	d := &download{ended: make(chan downloaded, 1)}
	d.pace.Store(slowPace)
	go func() {
		defer func() { _ = response.Body.Close() }()
		d.ended <- d.read(t.Context(), response.Body)
	}()
	return d
}

// read reads the body to its end, in portions of a tenth of a second.
func (d *download) read(ctx context.Context, body io.Reader) downloaded {
	const step = 100 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	hash := sha256.New()
	read := int64(0)
	var err error
	for err == nil && ctx.Err() == nil {
		count := int64(downloadSize)
		if pace := d.pace.Load(); pace != fullPace {
			count = pace * int64(step) / int64(time.Second)
			<-tick.C
		}
		var n int64
		n, err = io.CopyN(hash, body, count)
		read += n
	}
	end := downloaded{at: time.Now(), bytes: int(read)}
	copy(end.digest[:], hash.Sum(nil))
	if read != downloadSize {
		end.err = fmt.Errorf("cut: %w", errors.Join(err, ctx.Err()))
	}
	return end
}
