package dns_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/state"
)

// zone returns a zone with records of every kind that a stack creates.
func zone() dns.Zone {
	set := func(name, kind string, values ...string) dns.Record {
		return dns.Record{Name: name, Type: kind, TTL: 300, Values: values}
	}
	return dns.Zone{Name: "localcloud.test", Server: "ns.localcloud.test", Records: []dns.Record{
		set("ns.localcloud.test", "A", "198.18.0.5"),
		set("site.localcloud.test", "A", "198.18.1.1"),
		set("site.localcloud.test", "MX", "10 mail.example.org"),
		set("localcloud.test", "TXT", `"v=spf1 -all"`),
		set("www.site.localcloud.test", "CNAME", "site.localcloud.test"),
		set("two.localcloud.test", "A", "198.18.1.2", "198.18.1.1"),
		set("elsewhere.localcloud.test", "CNAME", "www.example.org"),
		set("nowhere.localcloud.test", "CNAME", "missing.localcloud.test"),
		set("round.localcloud.test", "CNAME", "about.localcloud.test"),
		set("about.localcloud.test", "CNAME", "round.localcloud.test"),
		set("_sip._tcp.localcloud.test", "SRV", "10 5 5060 site.localcloud.test"),
		set("*.any.localcloud.test", "A", "198.18.1.3"),
		set("sub.localcloud.test", "NS", "ns.sub.localcloud.test", "ns.example.org"),
		set("ns.sub.localcloud.test", "A", "198.18.1.4"),
		set("long.localcloud.test", "TXT", `"`+strings.Repeat("a", 250)+`"`, `"`+strings.Repeat("b", 250)+`"`,
			`"`+strings.Repeat("c", 250)+`"`),
	}}
}

// server runs a name server on loopback ports.
type server struct {
	file     string
	udp, tcp string
	stop     context.CancelFunc
	ended    chan error
}

func serve(t *testing.T) *server {
	t.Helper()
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{
		file: filepath.Join(t.TempDir(), "zone.json"),
		udp:  packets.LocalAddr().String(), tcp: stream.Addr().String(),
		stop: cancel, ended: make(chan error, 1),
	}
	go func() { s.ended <- dns.Serve(ctx, dns.NewHandler(s.file), stream, packets) }()
	t.Cleanup(cancel)
	return s
}

func (s *server) write(t *testing.T, zone dns.Zone) {
	t.Helper()
	require.NoError(t, state.WriteJSON(s.file, zone))
}

func (s *server) query(t *testing.T, name string, kind uint16, change ...func(*miekg.Msg, *miekg.Client)) *miekg.Msg {
	t.Helper()
	request := new(miekg.Msg).SetQuestion(miekg.Fqdn(name), kind)
	client := &miekg.Client{Net: "udp", Timeout: 5 * time.Second}
	for _, c := range change {
		c(request, client)
	}
	address := s.udp
	if client.Net == "tcp" {
		address = s.tcp
	}
	answer, _, err := client.Exchange(request, address)
	require.NoError(t, err, name)
	return answer
}

func overTCP(_ *miekg.Msg, client *miekg.Client) { client.Net = "tcp" }

// values returns records as text, without their TTLs.
func values(records []miekg.RR) []string {
	var lines []string
	for _, record := range records {
		fields := strings.SplitN(record.String(), "\t", 5)
		lines = append(lines, strings.Join([]string{fields[0], fields[3], fields[4]}, " "))
	}
	return lines
}

func TestZoneNamesGetAuthoritativeAnswers(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	for _, c := range []struct {
		name string
		kind uint16
		want []string
	}{
		{"site.localcloud.test", miekg.TypeA, []string{"site.localcloud.test. A 198.18.1.1"}},
		{"SITE.LocalCloud.test", miekg.TypeA, []string{"SITE.LocalCloud.test. A 198.18.1.1"}},
		{"site.localcloud.test", miekg.TypeMX, []string{"site.localcloud.test. MX 10 mail.example.org."}},
		{"two.localcloud.test", miekg.TypeA,
			[]string{"two.localcloud.test. A 198.18.1.2", "two.localcloud.test. A 198.18.1.1"}},
		{"localcloud.test", miekg.TypeTXT, []string{`localcloud.test. TXT "v=spf1 -all"`}},
		{"localcloud.test", miekg.TypeNS, []string{"localcloud.test. NS ns.localcloud.test."}},
		{"_sip._tcp.localcloud.test", miekg.TypeSRV,
			[]string{"_sip._tcp.localcloud.test. SRV 10 5 5060 site.localcloud.test."}},
		{"this.any.localcloud.test", miekg.TypeA, []string{"this.any.localcloud.test. A 198.18.1.3"}},
		{"this.and.that.any.localcloud.test", miekg.TypeA, []string{"this.and.that.any.localcloud.test. A 198.18.1.3"}},
		{"www.site.localcloud.test", miekg.TypeCNAME, []string{"www.site.localcloud.test. CNAME site.localcloud.test."}},
		{"www.site.localcloud.test", miekg.TypeA,
			[]string{"www.site.localcloud.test. CNAME site.localcloud.test.", "site.localcloud.test. A 198.18.1.1"}},
		{"elsewhere.localcloud.test", miekg.TypeA, []string{"elsewhere.localcloud.test. CNAME www.example.org."}},
	} {
		for _, answer := range []*miekg.Msg{s.query(t, c.name, c.kind), s.query(t, c.name, c.kind, overTCP)} {
			require.Equal(t, miekg.RcodeSuccess, answer.Rcode, c.name)
			require.True(t, answer.Authoritative, c.name)
			require.Equal(t, c.want, values(answer.Answer))
			require.Empty(t, answer.Ns)
		}
	}
	soa := s.query(t, "localcloud.test", miekg.TypeSOA).Answer[0].(*miekg.SOA)
	require.Equal(t, "ns.localcloud.test.", soa.Ns)
	require.NotZero(t, soa.Serial)
	require.Equal(t, uint32(300), s.query(t, "site.localcloud.test", miekg.TypeA).Answer[0].Header().Ttl)
	require.Len(t, s.query(t, "site.localcloud.test", miekg.TypeANY).Answer, 2)
}

func TestMissingNameIsDistinguishedFromMissingType(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	for name, rcode := range map[string]int{
		"missing.localcloud.test":         miekg.RcodeNameError,
		"a.site.localcloud.test":          miekg.RcodeNameError,
		"nowhere.localcloud.test":         miekg.RcodeNameError, // an alias whose target is missing
		"site.localcloud.test":            miekg.RcodeSuccess,
		"www.site.localcloud.test":        miekg.RcodeSuccess,
		"this.any.localcloud.test":        miekg.RcodeSuccess,
		"any.localcloud.test":             miekg.RcodeSuccess, // has a name below it
		"_tcp.localcloud.test":            miekg.RcodeSuccess,
		"localcloud.test":                 miekg.RcodeSuccess,
		"other._sip._tcp.localcloud.test": miekg.RcodeNameError,
	} {
		answer := s.query(t, name, miekg.TypeAAAA)
		require.Equal(t, miekg.RcodeToString[rcode], miekg.RcodeToString[answer.Rcode], name)
		require.True(t, answer.Authoritative, name)
		require.Len(t, answer.Ns, 1, name)
		require.Equal(t, miekg.TypeSOA, answer.Ns[0].Header().Rrtype)
		require.LessOrEqual(t, answer.Ns[0].Header().Ttl, uint32(5), "resolvers retry soon")
	}
}

func TestSubzoneIsDelegated(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	for _, name := range []string{"sub.localcloud.test", "www.sub.localcloud.test"} {
		answer := s.query(t, name, miekg.TypeA)
		require.Equal(t, miekg.RcodeSuccess, answer.Rcode)
		require.False(t, answer.Authoritative)
		require.Empty(t, answer.Answer)
		require.Equal(t, []string{"sub.localcloud.test. NS ns.sub.localcloud.test.",
			"sub.localcloud.test. NS ns.example.org."}, values(answer.Ns))
		require.Equal(t, []string{"ns.sub.localcloud.test. A 198.18.1.4"}, values(answer.Extra))
	}
}

func TestQueriesOutsideZoneAreRefused(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	require.Equal(t, miekg.RcodeRefused, s.query(t, "example.org", miekg.TypeA).Rcode)
	require.Equal(t, miekg.RcodeRefused, s.query(t, "notlocalcloud.test", miekg.TypeA).Rcode)
	chaos := func(request *miekg.Msg, _ *miekg.Client) { request.Question[0].Qclass = miekg.ClassCHAOS }
	require.Equal(t, miekg.RcodeRefused, s.query(t, "localcloud.test", miekg.TypeTXT, chaos).Rcode)
	notify := func(request *miekg.Msg, _ *miekg.Client) { request.Opcode = miekg.OpcodeNotify }
	require.Equal(t, miekg.RcodeNotImplemented, s.query(t, "localcloud.test", miekg.TypeSOA, notify).Rcode)
}

func TestCNAMELoopReturnsServerFailure(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	require.Equal(t, miekg.RcodeServerFailure, s.query(t, "round.localcloud.test", miekg.TypeA).Rcode)
}

func TestLongAnswerIsTruncatedOverPlainUDP(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	plain := s.query(t, "long.localcloud.test", miekg.TypeTXT)
	require.True(t, plain.Truncated)
	tcp := s.query(t, "long.localcloud.test", miekg.TypeTXT, overTCP)
	require.False(t, tcp.Truncated)
	require.Len(t, tcp.Answer, 3)
	extended := s.query(t, "long.localcloud.test", miekg.TypeTXT, func(request *miekg.Msg, _ *miekg.Client) {
		request.SetEdns0(4096, false)
	})
	require.False(t, extended.Truncated)
	require.Len(t, extended.Answer, 3)
	require.NotNil(t, extended.IsEdns0())
}

func TestRecordChangeTakesEffectImmediately(t *testing.T) {
	s := serve(t)
	require.Equal(t, miekg.RcodeServerFailure, s.query(t, "site.localcloud.test", miekg.TypeA).Rcode, "no file exists yet")
	changed := zone()
	for _, address := range []string{"198.18.1.7", "198.18.1.8", "198.18.1.9"} {
		changed.Records[1].Values = []string{address}
		s.write(t, changed)
		require.Equal(t, []string{"site.localcloud.test. A " + address},
			values(s.query(t, "site.localcloud.test", miekg.TypeA).Answer))
	}
	require.NoError(t, os.WriteFile(s.file, []byte("{"), 0o600))
	require.Equal(t, []string{"site.localcloud.test. A 198.18.1.9"},
		values(s.query(t, "site.localcloud.test", miekg.TypeA).Answer),
		"an invalid file does not change the names")
}

func TestServerStopsWithItsContext(t *testing.T) {
	s := serve(t)
	s.write(t, zone())
	s.query(t, "site.localcloud.test", miekg.TypeA)
	s.query(t, "site.localcloud.test", miekg.TypeA, overTCP)
	s.stop()
	select {
	case err := <-s.ended:
		require.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("the server is still running")
	}
}

func TestInvalidZoneIsRejectedAsAWhole(t *testing.T) {
	for want, record := range map[string]dns.Record{
		"record set www.example.org is outside the zone": {Name: "www.example.org", Type: "A", TTL: 1,
			Values: []string{"192.0.2.1"}},
		"record set site.localcloud.test: a CNAME excludes": {Name: "site.localcloud.test", Type: "CNAME", TTL: 1,
			Values: []string{"a.example.org"}},
		"record set www.site.localcloud.test: a CNAME excludes": {Name: "www.site.localcloud.test", Type: "A", TTL: 1,
			Values: []string{"192.0.2.1"}},
		"record set localcloud.test: a CNAME excludes": {Name: "localcloud.test", Type: "CNAME", TTL: 1,
			Values: []string{"a.example.org"}},
		"duplicate A record set site.localcloud.test": {Name: "site.localcloud.test", Type: "A", TTL: 1,
			Values: []string{"192.0.2.1"}},
		"duplicate NS record set localcloud.test": {Name: "localcloud.test", Type: "NS", TTL: 1,
			Values: []string{"ns.example.org"}},
		`A record set new.localcloud.test: value "www": write an IPv4`: {Name: "new.localcloud.test", Type: "A", TTL: 1,
			Values: []string{"www"}},
	} {
		bad := zone()
		bad.Records = append(bad.Records, record)
		_, err := dns.NewTable(bad, 1)
		require.ErrorContains(t, err, want)
	}
}

func TestHostsListsNamesWithAddresses(t *testing.T) {
	table, err := dns.NewTable(zone(), 1)
	require.NoError(t, err)
	address := netip.MustParseAddr
	require.Equal(t, []dns.Host{
		{Name: "ns.localcloud.test", Address: address("198.18.0.5")},
		{Name: "site.localcloud.test", Address: address("198.18.1.1")},
		{Name: "two.localcloud.test", Address: address("198.18.1.1")},
		{Name: "two.localcloud.test", Address: address("198.18.1.2")},
		{Name: "www.site.localcloud.test", Address: address("198.18.1.1")},
	}, table.Hosts())
}
