package dns

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

const (
	apexTTL = 900 // the TTL of the zone's own NS record, in seconds
	// negativeTTL is how long a resolver may cache that a name does not exist, in seconds. On AWS, it is 15
	// minutes, too long for tests to wait.
	negativeTTL = 5
)

// Table answers queries for one zone authoritatively.
type Table struct {
	origin string // with the trailing dot, like all names in this type
	soa    *dns.SOA
	sets   map[string]map[uint16][]dns.RR // records by name and type
	// exists contains the names of the sets and all their ancestors within the zone: an ancestor exists even
	// without records.
	exists map[string]bool
}

// NewTable validates a zone and returns its table. The serial number should increase with every change.
func NewTable(zone Zone, serial uint32) (*Table, error) {
	if err := checkName(zone.Name); err != nil {
		return nil, fmt.Errorf("zone %q: %w", zone.Name, err)
	}
	t := &Table{origin: dns.Fqdn(zone.Name), sets: map[string]map[uint16][]dns.RR{}, exists: map[string]bool{}}
	header := func(rrType uint16, ttl uint32) dns.RR_Header {
		return dns.RR_Header{Name: t.origin, Rrtype: rrType, Class: dns.ClassINET, Ttl: ttl}
	}
	// A resolver caches a negative answer for the TTL of the SOA record in it.
	t.soa = &dns.SOA{
		Hdr: header(dns.TypeSOA, negativeTTL), Ns: dns.Fqdn(zone.Server), Mbox: "hostmaster." + t.origin, Serial: serial,
		Refresh: 7200, Retry: 900, Expire: 1209600, Minttl: negativeTTL,
	}
	t.add(t.soa)
	t.add(&dns.NS{Hdr: header(dns.TypeNS, apexTTL), Ns: dns.Fqdn(zone.Server)})
	for _, record := range zone.Records {
		if err := t.addSet(record); err != nil {
			return nil, fmt.Errorf("zone %s: %w", zone.Name, err)
		}
	}
	return t, nil
}

func (t *Table) addSet(record Record) error {
	name := dns.CanonicalName(record.Name)
	if !dns.IsSubDomain(t.origin, name) {
		return fmt.Errorf("record set %s is outside the zone", record.Name)
	}
	records, err := record.RRs()
	if err != nil {
		return err
	}
	rrType := dns.StringToType[record.Type]
	if len(t.sets[name][rrType]) > 0 {
		return fmt.Errorf("duplicate %s record set %s", record.Type, record.Name)
	}
	if _, cname := t.sets[name][dns.TypeCNAME]; cname || rrType == dns.TypeCNAME && len(t.sets[name]) > 0 {
		return fmt.Errorf("record set %s: a CNAME excludes other record sets with the same name", record.Name)
	}
	for _, r := range records {
		t.add(r)
	}
	return nil
}

func (t *Table) add(record dns.RR) {
	header := record.Header()
	name := dns.CanonicalName(header.Name)
	if t.sets[name] == nil {
		t.sets[name] = map[uint16][]dns.RR{}
	}
	t.sets[name][header.Rrtype] = append(t.sets[name][header.Rrtype], record)
	for _, ancestor := range t.ancestry(name) {
		t.exists[ancestor] = true
	}
}

// ancestry returns a name in the zone and its ancestors, up to the origin.
func (t *Table) ancestry(name string) []string {
	var names []string
	for _, offset := range dns.Split(name) {
		names = append(names, name[offset:])
		if name[offset:] == t.origin {
			break
		}
	}
	return names
}

// Answer returns the reply to a query with one question.
func (t *Table) Answer(request *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(request)
	question := request.Question[0]
	transfer := question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR
	if question.Qclass != dns.ClassINET || transfer || !dns.IsSubDomain(t.origin, dns.CanonicalName(question.Name)) {
		reply.Rcode = dns.RcodeRefused
		return reply
	}
	t.resolve(reply, question.Name, question.Qtype)
	return reply
}

// resolve adds a name's records to the reply, and follows CNAMEs within the zone. name keeps the client's spelling.
func (t *Table) resolve(reply *dns.Msg, name string, rrType uint16) {
	seen := map[string]bool{}
	for dns.IsSubDomain(t.origin, dns.CanonicalName(name)) {
		canonical := dns.CanonicalName(name)
		if seen[canonical] {
			reply.Rcode = dns.RcodeServerFailure // CNAME loop
			return
		}
		seen[canonical] = true
		if delegation := t.delegation(canonical); delegation != nil {
			reply.Ns, reply.Extra = delegation, t.glue(delegation)
			return
		}
		reply.Authoritative = true
		sets, exists := t.find(canonical)
		if !exists {
			reply.Rcode = dns.RcodeNameError
		}
		answers, cname := sets[rrType], sets[dns.TypeCNAME]
		if rrType == dns.TypeANY {
			answers = slices.Concat(slices.Collect(maps.Values(sets))...)
		}
		found := len(answers) > 0
		if !found {
			answers = cname
		}
		if len(answers) == 0 {
			reply.Ns = []dns.RR{t.soa}
		}
		for _, record := range answers {
			record = dns.Copy(record)
			record.Header().Name = name
			reply.Answer = append(reply.Answer, record)
		}
		if found || len(cname) == 0 {
			return
		}
		name = cname[0].(*dns.CNAME).Target
	}
}

// find returns the sets of a name, or those of the wildcard that matches it.
func (t *Table) find(name string) (sets map[uint16][]dns.RR, exists bool) {
	if t.exists[name] {
		return t.sets[name], true
	}
	for _, ancestor := range t.ancestry(name)[1:] {
		if t.exists[ancestor] {
			sets, exists = t.sets["*."+ancestor]
			return sets, exists
		}
	}
	return nil, false
}

// delegation returns the NS records of the delegated subzone that contains a name, or nil.
func (t *Table) delegation(name string) []dns.RR {
	names := t.ancestry(name)
	for _, ancestor := range slices.Backward(names[:len(names)-1]) {
		if servers := t.sets[ancestor][dns.TypeNS]; len(servers) > 0 {
			return servers
		}
	}
	return nil
}

// glue returns the address records of name servers, if they are in this zone.
func (t *Table) glue(servers []dns.RR) []dns.RR {
	var addresses []dns.RR
	for _, server := range servers {
		sets := t.sets[dns.CanonicalName(server.(*dns.NS).Ns)]
		addresses = slices.Concat(addresses, sets[dns.TypeA], sets[dns.TypeAAAA])
	}
	return addresses
}

// Host is a name with one of its addresses.
type Host struct {
	Name    string // without the trailing dot
	Address netip.Addr
}

// Hosts returns all names that resolve to an IPv4 address, directly or through CNAMEs within the zone, sorted by
// name and address. It omits wildcards.
func (t *Table) Hosts() []Host {
	var hosts []Host
	for name := range t.sets {
		if strings.HasPrefix(name, "*.") {
			continue
		}
		for _, record := range t.Answer(new(dns.Msg).SetQuestion(name, dns.TypeA)).Answer {
			if a, ok := record.(*dns.A); ok {
				if address, ok := netip.AddrFromSlice(a.A.To4()); ok {
					hosts = append(hosts, Host{Name: strings.TrimSuffix(name, "."), Address: address})
				}
			}
		}
	}
	slices.SortFunc(hosts, func(a, b Host) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	return hosts
}
