package awsplugin

import (
	"errors"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dns"
)

const recordType = "aws:route53/record:Record"

// recordInputs returns the inputs of the site's A record, with changes.
func recordInputs(changes ...object) object {
	inputs := object{"zoneId": cloud.ZoneID, "name": "site.localcloud.test", "type": "A", "ttl": 300,
		"records": []string{"198.18.1.1"}}
	for _, change := range changes {
		for name, value := range change {
			inputs[name] = value
		}
	}
	return inputs
}

func TestRecordIsServedUntilDeleted(t *testing.T) {
	h := newHarness(t)
	a := h.create(recordType, "site", recordInputs())
	require.Equal(t, cloud.ZoneID+"_site.localcloud.test_A", a.id)
	require.Equal(t, "site.localcloud.test", a.get("fqdn"))
	mx := h.create(recordType, "mail", recordInputs(object{"type": "MX", "records": []string{"10 mail.example.org"}}))
	txt := h.create(recordType, "dmarc",
		recordInputs(object{"name": "_dmarc.localcloud.test", "type": "TXT", "records": []string{"v=DMARC1; p=reject"}}))
	require.Equal(t, []dns.Record{
		{Name: "_dmarc.localcloud.test", Type: "TXT", TTL: 300, Values: []string{`"v=DMARC1; p=reject"`}},
		{Name: "site.localcloud.test", Type: "A", TTL: 300, Values: []string{"198.18.1.1"}},
		{Name: "site.localcloud.test", Type: "MX", TTL: 300, Values: []string{"10 mail.example.org"}},
	}, h.cloud.records)

	for _, r := range []*resource{a, mx, txt} {
		before := *r
		require.True(t, h.refresh(r))
		require.True(t, before.inputs.Equals(r.inputs), "inputs %v became %v", before.inputs, r.inputs)
		require.True(t, before.outputs.Equals(r.outputs), "outputs %v became %v", before.outputs, r.outputs)
	}
	for _, r := range []*resource{a, mx, txt} {
		require.NoError(t, h.delete(r))
		require.False(t, h.refresh(r))
		require.NoError(t, h.delete(r), "deleting it again succeeds")
	}
	require.Empty(t, h.cloud.records)
	require.Empty(t, h.state().Records)
}

func TestOnlyNameAndZoneChangesReplaceRecord(t *testing.T) {
	h := newHarness(t)
	a := h.create(recordType, "site", recordInputs(object{"records": []string{"198.18.1.1", "198.18.1.2"}}))
	same := object{"records": []string{"198.18.1.2", "198.18.1.1"}, "name": "Site.LocalCloud.test."}
	for name, c := range map[string]struct {
		change object
		want   map[string]p.DiffKind
	}{
		"another order and spelling": {same, map[string]p.DiffKind{}},
		"a name": {object{"name": "www.localcloud.test"},
			map[string]p.DiffKind{"name": p.UpdateReplace, "records": p.Update}},
		"a zone":     {object{"zoneId": "Z1", "records": same["records"]}, map[string]p.DiffKind{"zoneId": p.UpdateReplace}},
		"an address": {object{"records": []string{"198.18.1.1"}}, map[string]p.DiffKind{"records": p.Update}},
		"a time to live": {object{"ttl": 60, "records": same["records"]},
			map[string]p.DiffKind{"ttl": p.Update}},
		"an unknown address": {
			object{"records": property.New([]property.Value{property.New(property.Computed)})},
			map[string]p.DiffKind{"records": p.Update},
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, diff := h.diff(a, recordInputs(c.change))
			kinds := map[string]p.DiffKind{}
			for path, change := range diff.DetailedDiff {
				kinds[path] = change.Kind
			}
			require.Equal(t, c.want, kinds)
			require.False(t, diff.DeleteBeforeReplace)
		})
	}
	h.update(a, recordInputs(object{"ttl": 60, "records": []string{"198.18.1.9"}}))
	require.Equal(t, []dns.Record{{Name: "site.localcloud.test", Type: "A", TTL: 60, Values: []string{"198.18.1.9"}}},
		h.cloud.records)
}

func TestRecordTypeCannotChangeInPlace(t *testing.T) {
	h := newHarness(t)
	a := h.create(recordType, "site", recordInputs())
	txt := recordInputs(object{"type": "TXT", "records": []string{"v=spf1 -all"}})
	for _, dryRun := range []bool{true, false} {
		require.ErrorContains(t, h.tryUpdate(a, txt, dryRun),
			`localcloud cannot change type in place: set pulumi.ReplaceOnChanges([]string{"type"})`)
	}
	require.Equal(t, "A", h.cloud.records[0].Type)
}

func TestInvalidRecordsAreRejected(t *testing.T) {
	h := newHarness(t)
	h.create(recordType, "site", recordInputs())
	h.create(recordType, "www",
		recordInputs(object{"name": "www.localcloud.test", "type": "CNAME", "records": []string{"site.localcloud.test"}}))
	for name, c := range map[string]struct {
		code   string
		change object
	}{
		"an unknown zone": {"NoSuchHostedZone", object{"zoneId": "Z1"}},
		"another domain": {"RRSet with DNS name www.example.org. is not permitted in zone localcloud.test.",
			object{"name": "www.example.org"}},
		"another domain with the same ending": {"is not permitted in zone", object{"name": "www.notlocalcloud.test"}},
		"an incomplete name":                  {"write the full name, such as www.localcloud.test", object{"name": "www"}},
		"an existing record": {"Tried to create resource record set [name='site.localcloud.test.', type='A'] " +
			"but it already exists", object{"records": []string{"198.18.1.2"}}},
		"an existing record in another spelling": {"but it already exists", object{"name": "SITE.localcloud.test."}},
		"a CNAME with another record's name": {"conflicts with other records",
			object{"type": "CNAME", "records": []string{"www.example.org"}}},
		"a record with a CNAME's name": {"conflicts with other records", object{"name": "www.localcloud.test"}},
		"a CNAME at the apex": {"is not permitted at apex in zone localcloud.test.",
			object{"name": "localcloud.test", "type": "CNAME", "records": []string{"www.example.org"}}},
		"the zone's name servers": {"belongs to the zone",
			object{"name": "localcloud.test", "type": "NS", "records": []string{"ns.example.org"}}},
		"a name reserved by localcloud": {"localcloud reserves the name",
			object{"name": "acme.localcloud.test"}},
		"a name with a space": {"characters other than letters", object{"name": "a b.localcloud.test"}},
		"an A record without an address": {"write an IPv4 address",
			object{"name": "new.localcloud.test", "records": []string{"www.example.org"}}},
		"a quoted TXT value": {"outside of quotation marks",
			object{"type": "TXT", "records": []string{`"v=spf1 -all"`}}},
		"two CNAMEs": {"a CNAME has only one",
			object{"name": "new.localcloud.test", "type": "CNAME", "records": []string{"a.example.org", "b.example.org"}}},
		"no values":       {"no values: write at least one", object{"name": "new.localcloud.test", "records": []string{}}},
		"no time to live": {"TTL 0: write seconds between 1", object{"name": "new.localcloud.test", "ttl": 0}},
	} {
		t.Run(name, func(t *testing.T) { h.createFails(c.code, recordType, recordInputs(c.change)) })
	}
	require.Len(t, h.state().Records, 2)
	require.Len(t, h.cloud.records, 2)
}

func TestUnsupportedRecordInputsAreRejectedByName(t *testing.T) {
	h := newHarness(t)
	for want, change := range map[string]object{
		`aliases: localcloud does not support property "aliases" of aws:route53/record:Record: use records and ttl`: {
			"aliases": []object{{"name": "a"}},
		},
		`allowOverwrite: localcloud does not support property`: {"allowOverwrite": true},
		`weightedRoutingPolicies: localcloud does not support property`: {
			"weightedRoutingPolicies": []object{{"weight": 1}},
		},
		`ttl: missing required property "ttl"`:         {"ttl": nil},
		`records: missing required property "records"`: {"records": nil},
		`type: localcloud does not support this value of property "type" of aws:route53/record:Record; write one of ["A","AAAA","CAA","CNAME","MX","NS","SRV","TXT"]`: {"type": "PTR"},
		`value: unknown property "value"`: {"value": "198.18.1.1"},
	} {
		_, failures := h.check(recordType, "x", recordInputs(change))
		require.Len(t, failures, 1)
		require.Contains(t, failures[0], want)
	}
}

func TestRecordRejectedByNameServerIsNotSaved(t *testing.T) {
	h := newHarness(t)
	h.cloud.recordsError = errors.New("no space left")
	_, err := h.tryCreate(recordType, "site", recordInputs())
	require.ErrorContains(t, err, "cannot update the DNS records of localcloud.test: no space left")
	require.Empty(t, h.state().Records)
}
