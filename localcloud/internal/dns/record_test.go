package dns_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/dns"
)

func TestValuesThatRoute53AcceptsAreServed(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, c := range []struct{ kind, value, want string }{
		{"A", "192.0.2.1", "192.0.2.1"},
		{"AAAA", "2001:DB8::1", "2001:db8::1"},
		{"CNAME", "www.example.org", "www.example.org."},
		{"NS", "ns1.example.org.", "ns1.example.org."},
		{"MX", "10 mail.example.org", "10 mail.example.org."},
		{"MX", "0 .", "0 ."},
		{"SRV", "10 5 443 www.example.org.", "10 5 443 www.example.org."},
		{"CAA", `0 issue "letsencrypt.org; validationmethods=http-01"`,
			`0 issue "letsencrypt.org; validationmethods=http-01"`},
		{"TXT", `"v=spf1 -all"`, `"v=spf1 -all"`},
		{"TXT", `"` + long + `""b"`, `"` + long + `" "b"`},
		{"TXT", `"say \"hi\" \\ \344"`, `"say \"hi\" \\ \228"`},
		{"TXT", `""`, `""`},
	} {
		records, err := dns.Record{Name: "x.localcloud.test", Type: c.kind, TTL: 60, Values: []string{c.value}}.RRs()
		require.NoError(t, err, "%s %s", c.kind, c.value)
		require.Len(t, records, 1)
		require.Equal(t, "x.localcloud.test.\t60\tIN\t"+c.kind+"\t"+c.want, records[0].String())
	}
}

func TestValuesThatRoute53RejectsAreRejected(t *testing.T) {
	for _, c := range []struct{ kind, value, want string }{
		{"A", "www.example.org", "write an IPv4 address"},
		{"A", "2001:db8::1", "write an IPv4 address"},
		{"A", "192.0.2.1 192.0.2.2", "write an IPv4 address"},
		{"AAAA", "192.0.2.1", "write an IPv6 address"},
		{"AAAA", "fe80::1%eth0", "write an IPv6 address"},
		{"CNAME", "", "an empty label"},
		{"CNAME", "www..example.org", "an empty label"},
		{"CNAME", "10 www.example.org", "characters other than letters"},
		{"CNAME", strings.Repeat("a", 64) + ".example.org", "longer than 63 characters"},
		{"NS", "*.example.org", "characters other than letters"},
		{"MX", "mail.example.org", "write a preference and a host"},
		{"MX", "70000 mail.example.org", `"70000" is not a number between 0 and 65535`},
		{"SRV", "10 443 www.example.org", "write priority, weight, port and host"},
		{"CAA", `0 issue letsencrypt.org`, "outside of quotation marks"},
		{"CAA", `256 issue "letsencrypt.org"`, "write flags, tag and a quoted value"},
		{"CAA", `0 is-sue "letsencrypt.org"`, `tag "is-sue"`},
		{"CAA", `0 issue "a" "b"`, "write flags, tag and a quoted value"},
		{"TXT", `v=spf1`, "outside of quotation marks"},
		{"TXT", `""v=spf1""`, "outside of quotation marks"},
		{"TXT", `"v=spf1`, "a quotation mark is missing"},
		{"TXT", `"a\"`, "a quotation mark is missing"},
		{"TXT", `"\9"`, "three octal digits"},
		{"TXT", `"ä"`, "outside printable ASCII"},
		{"TXT", `"` + strings.Repeat("a", 256) + `"`, "split it into strings of at most 255"},
		{"TXT", strings.Repeat(`"`+strings.Repeat("a", 250)+`"`, 17), "write at most 4000"},
		{"SPF", `"v=spf1"`, "unknown type: write one of A, AAAA, CAA"},
	} {
		_, err := dns.Record{Name: "x.localcloud.test", Type: c.kind, TTL: 60, Values: []string{c.value}}.RRs()
		require.ErrorContains(t, err, c.want, "%s %s", c.kind, c.value)
		require.ErrorContains(t, err, c.kind+" record set x.localcloud.test", "the error names the record set")
	}
}

func TestInvalidRecordSetsAreRejected(t *testing.T) {
	good := dns.Record{Name: "x.localcloud.test", Type: "A", TTL: 60, Values: []string{"192.0.2.1"}}
	for want, change := range map[string]func(*dns.Record){
		"TTL 0: write seconds between 1 and 2147483647": func(r *dns.Record) { r.TTL = 0 },
		"TTL 2147483648":                func(r *dns.Record) { r.TTL = 1 << 31 },
		"no values: write at least one": func(r *dns.Record) { r.Values = nil },
		`duplicate value "192.0.2.1"`:   func(r *dns.Record) { r.Values = []string{"192.0.2.1", "192.0.2.1"} },
		"2 values: a CNAME has only one": func(r *dns.Record) {
			r.Type, r.Values = "CNAME", []string{"a.example.org", "b.example.org"}
		},
		`name "a b.localcloud.test"`: func(r *dns.Record) { r.Name = "a b.localcloud.test" },
		`name "a.*.localcloud.test"`: func(r *dns.Record) { r.Name = "a.*.localcloud.test" },
		"longer than 253 characters": func(r *dns.Record) { r.Name = strings.Repeat("a.", 130) + "localcloud.test" },
	} {
		record := good
		change(&record)
		_, err := record.RRs()
		require.ErrorContains(t, err, want)
	}
	_, err := good.RRs()
	require.NoError(t, err)
}
