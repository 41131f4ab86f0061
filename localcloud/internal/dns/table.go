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
	apexTTL = 900 // the time to live of the zone's own NS record, in seconds
	// negativeTTL is how long a resolver may cache that a name does not exist, in seconds. On AWS it
	// is 15 minutes; here, no test could wait for that.
	negativeTTL = 5
)

// Table answers questions about one zone, with authority.
type Table struct {
	origin string // with the final dot, as all names here
	soa    *dns.SOA
	sets   map[string]map[uint16][]dns.RR // the records by name and type
	// exists holds the names of the sets and all names above them, within the
	// zone: a name may exist without a record of its own.
	exists map[string]bool
}

// NewTable checks a zone as a whole. Its serial number should grow with every change.
func NewTable(zone Zone, serial uint32) (*Table, error) {
	if err := checkName(zone.Name); err != nil {
		return nil, fmt.Errorf("zone %q: %w", zone.Name, err)
	}
	t := &Table{origin: dns.Fqdn(zone.Name), sets: map[string]map[uint16][]dns.RR{}, exists: map[string]bool{}}
	header := func(kind uint16, ttl uint32) dns.RR_Header {
		return dns.RR_Header{Name: t.origin, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	}
	// A resolver caches a negative answer for as long as the record in it lives.
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
		return fmt.Errorf("record set %s is outside of it", record.Name)
	}
	records, err := record.RRs()
	if err != nil {
		return err
	}
	kind := dns.StringToType[record.Type]
	if len(t.sets[name][kind]) > 0 {
		return fmt.Errorf("it has two %s record sets %s", record.Type, record.Name)
	}
	if _, alias := t.sets[name][dns.TypeCNAME]; alias || kind == dns.TypeCNAME && len(t.sets[name]) > 0 {
		return fmt.Errorf("record set %s: nothing stands beside a CNAME", record.Name)
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
	for _, above := range t.path(name) {
		t.exists[above] = true
	}
}

// path lists a name of the zone and all above it, up to the zone's own.
func (t *Table) path(name string) []string {
	var path []string
	for _, offset := range dns.Split(name) {
		path = append(path, name[offset:])
		if name[offset:] == t.origin {
			break
		}
	}
	return path
}

// Answer answers a request with one question.
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

// resolve follows aliases within the zone. name keeps the spelling of who asks.
func (t *Table) resolve(reply *dns.Msg, name string, kind uint16) {
	seen := map[string]bool{}
	for dns.IsSubDomain(t.origin, dns.CanonicalName(name)) { // otherwise, another server knows
		canonical := dns.CanonicalName(name)
		if seen[canonical] {
			reply.Rcode = dns.RcodeServerFailure // aliases that lead in a circle
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
		answers, alias := sets[kind], sets[dns.TypeCNAME]
		if kind == dns.TypeANY {
			answers = slices.Concat(slices.Collect(maps.Values(sets))...)
		}
		found := len(answers) > 0
		if !found {
			answers = alias
		}
		if len(answers) == 0 {
			reply.Ns = []dns.RR{t.soa}
		}
		for _, record := range answers {
			record = dns.Copy(record)
			record.Header().Name = name
			reply.Answer = append(reply.Answer, record)
		}
		if found || len(alias) == 0 {
			return
		}
		name = alias[0].(*dns.CNAME).Target
	}
}

// find returns the sets of a name, or those of the wildcard that stands for it.
func (t *Table) find(name string) (sets map[uint16][]dns.RR, exists bool) {
	if t.exists[name] {
		return t.sets[name], true
	}
	for _, above := range t.path(name)[1:] {
		if t.exists[above] {
			sets, exists = t.sets["*."+above]
			return sets, exists
		}
	}
	return nil, false
}

// delegation returns the name servers of the subzone that a name is in, or nil.
func (t *Table) delegation(name string) []dns.RR {
	path := t.path(name)
	for _, above := range slices.Backward(path[:len(path)-1]) {
		if servers := t.sets[above][dns.TypeNS]; len(servers) > 0 {
			return servers
		}
	}
	return nil
}

// glue returns the addresses of name servers, as far as they are records of this zone.
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
	Name    string // without the final dot
	Address netip.Addr
}

// Hosts lists every name that leads to an IPv4 address, also by aliases within
// the zone, in the order of the names. A wildcard is no name.
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
