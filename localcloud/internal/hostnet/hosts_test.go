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

// host has a hosts file of its own, and the network.
func host(t *testing.T, content string) *Host {
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

func TestTheHostsFileIsByteForByteAsBefore(t *testing.T) {
	for name, content := range map[string]string{
		"an ordinary file":              ordinary,
		"a last line without an end":    "127.0.0.1 localhost",
		"empty lines at its end":        "127.0.0.1 localhost\n\n\n",
		"an empty file":                 "",
		"line ends of another system":   "127.0.0.1 localhost\r\n",
		"a word about this in a remark": "127.0.0.1 localhost # " + beginNames + "nobody\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t, content)
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

func TestLinesOfOthersStayWhereTheyAre(t *testing.T) {
	for _, content := range []string{ordinary, "127.0.0.1 localhost"} {
		h := host(t, content)
		require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
		require.NoError(t, os.WriteFile(h.hosts, []byte("192.0.2.1 first\n"+h.read(t)+"192.0.2.2 last\n"), 0o644))
		require.NoError(t, h.WriteNames(someHosts("198.18.1.2")))
		require.Contains(t, h.read(t), "\n198.18.1.2\tsite.localcloud.test\n")
		require.NotContains(t, h.read(t), "198.18.1.1")
		require.NoError(t, h.removeNames())
		if content == ordinary {
			require.Equal(t, "192.0.2.1 first\n"+ordinary+"192.0.2.2 last\n", h.read(t))
		} else {
			require.Equal(t, "192.0.2.1 first\n127.0.0.1 localhost\n192.0.2.2 last\n", h.read(t), "two lines do not become one")
		}
	}
}

func TestTheHostsFileStaysTheSameFile(t *testing.T) {
	h := host(t, ordinary)
	require.NoError(t, os.Chmod(h.hosts, 0o640))
	was, err := os.Stat(h.hosts)
	require.NoError(t, err)
	require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
	is, err := os.Stat(h.hosts)
	require.NoError(t, err)
	require.True(t, os.SameFile(was, is), "in a container it is a mount, which cannot be renamed over")
	require.Equal(t, was.Mode(), is.Mode())
}

func TestNamesOfAHomeThatARestartHasEndedAreTakenOver(t *testing.T) {
	h := host(t, ordinary)
	require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
	require.NoError(t, os.Remove(h.owner)) // what a restart does

	other := &Host{home: state.Home(t.TempDir()), owner: h.owner, hosts: h.hosts}
	require.NoError(t, other.removeNames())
	require.Contains(t, h.read(t), "198.18.1.1", "the names of another home are not its business")
	require.NoError(t, other.WriteNames(someHosts("198.18.1.2")))
	require.NotContains(t, h.read(t), "198.18.1.2", "its network is not up")

	require.NoError(t, other.claim())
	require.NoError(t, other.WriteNames(someHosts("198.18.1.2")))
	require.NotContains(t, h.read(t), "198.18.1.1", "two local clouds do not run at once")
	require.ErrorContains(t, h.WriteNames(nil), "another local cloud runs on this machine")
	require.NoError(t, h.removeNames())
	require.NoError(t, other.removeNames())
	require.Equal(t, ordinary, h.read(t))
}

func TestDownRemovesTheNamesAlsoAfterARestart(t *testing.T) {
	h := host(t, ordinary)
	require.NoError(t, h.WriteNames(someHosts("198.18.1.1")))
	require.NoError(t, os.Remove(h.owner))
	require.NoError(t, h.Undo(t.Context()))
	require.Equal(t, ordinary, h.read(t))
}

func TestHalfABlockIsLeftToTheUser(t *testing.T) {
	h := host(t, ordinary+beginNames+"somewhere\n198.18.1.1\tsite.localcloud.test\n")
	content := h.read(t)
	require.ErrorContains(t, h.WriteNames(nil), "take out the lines of localcloud by hand")
	require.ErrorContains(t, h.removeNames(), "take out the lines of localcloud by hand")
	require.Equal(t, content, h.read(t))
}
