package cloud

import (
	"slices"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/names"
)

func TestTheZoneHasItsServersBesideTheStacksRecords(t *testing.T) {
	site := names.Record{Name: "site.localcloud.test", Type: "A", TTL: 60, Values: []string{"198.18.1.1"}}
	table, err := names.NewTable(hostedZone([]names.Record{site}), 1)
	require.NoError(t, err)
	for name, address := range map[string]string{
		"site.localcloud.test.": "198.18.1.1", "acme.localcloud.test.": "198.18.0.6", "ns.localcloud.test.": "198.18.0.5",
		"uptimerobot.localcloud.test.": "198.18.0.8",
	} {
		answer := table.Answer(new(dns.Msg).SetQuestion(name, dns.TypeA)).Answer
		require.Len(t, answer, 1)
		require.Equal(t, address, answer[0].(*dns.A).A.String())
	}
}

func TestOnlyLocalcloudsOwnNamesAreItsOwn(t *testing.T) {
	require.True(t, IsOwnName("acme.localcloud.test"))
	require.True(t, IsOwnName("ns.localcloud.test"))
	require.True(t, IsOwnName("uptimerobot.localcloud.test"))
	for _, name := range []string{"localcloud.test", "site.localcloud.test", "a.acme.localcloud.test"} {
		require.False(t, IsOwnName(name), name)
	}
}

func TestAServiceIsStartedAnewWhenItsDescriptionChanged(t *testing.T) {
	was := service{role: "a", address: dnsAddress(), port: 53, mounts: []string{"/a:/b"}, command: []string{"run"}}
	require.Equal(t, was.spec(), was.spec())
	for name, change := range map[string]func(*service){
		"address":     func(s *service) { s.address = acmeAddress() },
		"port":        func(s *service) { s.port = 443 },
		"mount":       func(s *service) { s.mounts = []string{"/c:/b"} },
		"environment": func(s *service) { s.environment = []string{"A=b"} },
		"command":     func(s *service) { s.command = []string{"run", "-v"} },
		"config":      func(s *service) { s.config = "{}" },
	} {
		is := was
		is.mounts = slices.Clone(was.mounts)
		change(&is)
		require.NotEqual(t, was.spec(), is.spec(), name)
	}
}
