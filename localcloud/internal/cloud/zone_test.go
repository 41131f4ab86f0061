package cloud

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/dns"
)

func TestZoneHasServiceAndStackRecords(t *testing.T) {
	site := dns.Record{Name: "site.localcloud.test", Type: "A", TTL: 60, Values: []string{"198.18.1.1"}}
	table, err := dns.NewTable(hostedZone([]dns.Record{site}), 1)
	require.NoError(t, err)
	for name, address := range map[string]string{
		"site.localcloud.test.": "198.18.1.1", "acme.localcloud.test.": "198.18.0.6", "ns.localcloud.test.": "198.18.0.5",
		"uptimerobot.localcloud.test.": "198.18.0.8",
	} {
		answer := table.Answer(new(miekg.Msg).SetQuestion(name, miekg.TypeA)).Answer
		require.Len(t, answer, 1)
		require.Equal(t, address, answer[0].(*miekg.A).A.String())
	}
}

func TestIsOwnNameMatchesOnlyServiceNames(t *testing.T) {
	require.True(t, IsOwnName("acme.localcloud.test"))
	require.True(t, IsOwnName("ns.localcloud.test"))
	require.True(t, IsOwnName("uptimerobot.localcloud.test"))
	for _, name := range []string{"localcloud.test", "site.localcloud.test", "a.acme.localcloud.test"} {
		require.False(t, IsOwnName(name), name)
	}
}

func TestServiceRestartsWhenItsSpecChanges(t *testing.T) {
	before := service{role: "a", address: DNSAddress(), port: 53, mounts: []string{"/a:/b"}, command: []string{"run"}}
	require.Equal(t, before.spec(), before.spec())
	for name, change := range map[string]func(*service){
		"address":     func(s *service) { s.address = acmeAddress() },
		"port":        func(s *service) { s.port = 443 },
		"mount":       func(s *service) { s.mounts = []string{"/c:/b"} },
		"environment": func(s *service) { s.environment = []string{"A=b"} },
		"command":     func(s *service) { s.command = []string{"run", "-v"} },
		"config":      func(s *service) { s.config = "{}" },
	} {
		after := before
		after.mounts = slices.Clone(before.mounts)
		change(&after)
		require.NotEqual(t, before.spec(), after.spec(), name)
	}
}

func TestRegistryRestartsWhenAnImageChanges(t *testing.T) {
	dir := t.TempDir()
	minbase, traefik := filepath.Join(dir, "minbase"), filepath.Join(dir, "traefik")
	seen := map[string]bool{}
	for _, content := range []string{"one", "another"} {
		for _, layer := range []string{minbase, traefik} {
			require.NoError(t, os.WriteFile(minbase, []byte("base"), 0o600))
			require.NoError(t, os.WriteFile(traefik, []byte("program"), 0o600))
			require.NoError(t, os.WriteFile(layer, []byte(content), 0o600))
			images, err := imagesHash(minbase, traefik)
			require.NoError(t, err)
			again, err := imagesHash(minbase, traefik)
			require.NoError(t, err)
			require.Equal(t, images, again)
			require.Contains(t, images, "library/traefik:v3.7.13", "the hash covers the image tags")
			spec := service{role: roleRegistry, config: images}.spec()
			require.False(t, seen[spec], "%s of %s", content, filepath.Base(layer))
			seen[spec] = true
		}
	}
	_, err := imagesHash(minbase, filepath.Join(dir, "missing"))
	require.ErrorContains(t, err, "missing")
}
