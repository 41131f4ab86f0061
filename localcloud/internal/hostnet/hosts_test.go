package hostnet

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/state"
)

// newHost returns a Host that owns the network and has its own hosts file.
func newHost(t *testing.T, content string) *Host {
	t.Helper()
	dir := t.TempDir()
	h := &Host{home: state.Home(filepath.Join(dir, "home")), owner: filepath.Join(dir, "owner"),
		hosts: filepath.Join(dir, "hosts")}
	require.NoError(t, os.WriteFile(h.hosts, []byte(content), 0o644))
	require.NoError(t, h.claim())
	return h
}

func (h *Host) read(t *testing.T) string {
	t.Helper()
	content, err := os.ReadFile(h.hosts)
	require.NoError(t, err)
	return string(content)
}

func someHosts(addresses ...string) []dns.Host {
	var hosts []dns.Host
	for _, address := range addresses {
		hosts = append(hosts, dns.Host{Name: "site.localcloud.test", Address: netip.MustParseAddr(address)})
	}
	return hosts
}

const ordinary = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"

func TestHostsFileIsRestoredByteForByte(t *testing.T) {
	for name, content := range map[string]string{
		"ordinary file":          ordinary,
		"no newline at the end":  "127.0.0.1 localhost",
		"empty lines at the end": "127.0.0.1 localhost\n\n\n",
		"empty file":             "",
		"CRLF line endings":      "127.0.0.1 localhost\r\n",
		"marker in a comment":    "127.0.0.1 localhost # " + beginNames + "nobody\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, content)
			for range 3 {
				require.NoError(t, h.WriteNames(someHosts("198.18.1.1", "198.18.1.2", "198.18.1.3")))
				require.NoError(t, h.WriteNames(nil))
				require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
			}
			require.Contains(t, h.read(t), "\n198.18.1.1\tsite.localcloud.test\n")
			require.NotContains(t, h.read(t), "198.18.1.2")
			require.NoError(t, h.removeNames())
			require.Equal(t, content, h.read(t))
			require.NoError(t, h.removeNames())
			require.Equal(t, content, h.read(t))
		})
	}
}

func TestForeignLinesArePreserved(t *testing.T) {
	for _, content := range []string{ordinary, "127.0.0.1 localhost"} {
		h := newHost(t, content)
		require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
		require.NoError(t, os.WriteFile(h.hosts, []byte("192.0.2.1 first\n"+h.read(t)+"192.0.2.2 last\n"), 0o644))
		require.NoError(t, h.WriteNames(someHosts("198.18.1.2")))
		require.Contains(t, h.read(t), "\n198.18.1.2\tsite.localcloud.test\n")
		require.NotContains(t, h.read(t), "198.18.1.1")
		require.NoError(t, h.removeNames())
		if content == ordinary {
			require.Equal(t, "192.0.2.1 first\n"+ordinary+"192.0.2.2 last\n", h.read(t))
		} else {
			require.Equal(t, "192.0.2.1 first\n127.0.0.1 localhost\n192.0.2.2 last\n", h.read(t), "lines are not joined")
		}
	}
}

func TestHostsFileIsEditedInPlace(t *testing.T) {
	h := newHost(t, ordinary)
	require.NoError(t, os.Chmod(h.hosts, 0o640))
	before, err := os.Stat(h.hosts)
	require.NoError(t, err)
	require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
	after, err := os.Stat(h.hosts)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "in a container the file is a mount and cannot be replaced by a rename")
	require.Equal(t, before.Mode(), after.Mode())
}

func TestStaleNamesOfAnotherHomeAreReplaced(t *testing.T) {
	h := newHost(t, ordinary)
	require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
	require.NoError(t, os.Remove(h.owner)) // as a reboot does

	other := &Host{home: state.Home(t.TempDir()), owner: h.owner, hosts: h.hosts}
	require.NoError(t, other.removeNames())
	require.Contains(t, h.read(t), "198.18.1.1", "names of another home are kept")
	require.NoError(t, other.WriteNames(someHosts("198.18.1.2")))
	require.NotContains(t, h.read(t), "198.18.1.2", "the network of this home is not up")

	require.NoError(t, other.claim())
	require.NoError(t, other.WriteNames(someHosts("198.18.1.2")))
	require.NotContains(t, h.read(t), "198.18.1.1", "only one local cloud runs at a time")
	require.ErrorContains(t, h.WriteNames(nil), "another local cloud runs on this machine")
	require.NoError(t, h.removeNames())
	require.NoError(t, other.removeNames())
	require.Equal(t, ordinary, h.read(t))
}

func TestDownRemovesNamesAfterReboot(t *testing.T) {
	h := newHost(t, ordinary)
	require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
	require.NoError(t, os.Remove(h.owner))
	require.NoError(t, h.Undo(t.Context()))
	require.Equal(t, ordinary, h.read(t))
}

func TestIncompleteBlockIsLeftToTheUser(t *testing.T) {
	h := newHost(t, ordinary+beginNames+"somewhere\n198.18.1.1\tsite.localcloud.test\n")
	content := h.read(t)
	require.ErrorContains(t, h.WriteNames(nil), "remove localcloud's lines by hand")
	require.ErrorContains(t, h.removeNames(), "remove localcloud's lines by hand")
	require.Equal(t, content, h.read(t))
}
