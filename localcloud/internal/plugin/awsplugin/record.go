package awsplugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// checkRecord validates a record set. There is only one hosted zone.
func checkRecord(op *operation, r store.Record) error {
	if zone := r.Text("zoneId"); zone != cloud.ZoneID {
		return apiError("NoSuchHostedZone",
			"No hosted zone found with ID: %s; localcloud has %s (%s)", zone, cloud.ZoneID, cloud.ZoneName)
	}
	name, kind := schema.NormalDomain(r.Text("name")), r.Text("type")
	r["name"], r["fqdn"] = name, name
	if name != cloud.ZoneName && !strings.HasSuffix(name, "."+cloud.ZoneName) {
		// The real provider would treat it as relative and append the zone's name, which cannot be what a program with
		// another domain intends.
		return changeError("RRSet with DNS name %s. is not permitted in zone %s.; write the full name, such as www.%s",
			name, cloud.ZoneName, cloud.ZoneName)
	}
	if cloud.IsOwnName(name) {
		return changeError("RRSet with DNS name %s. is not permitted: localcloud reserves the name", name)
	}
	if name == cloud.ZoneName && kind == "CNAME" {
		return changeError("RRSet of type CNAME with DNS name %s. is not permitted at apex in zone %s.", name, cloud.ZoneName)
	}
	if name == cloud.ZoneName && kind == "NS" {
		return changeError(
			"RRSet of type NS with DNS name %s. belongs to the zone: localcloud does not support replacing it", name)
	}
	if _, err := dnsRecord(r).RRs(); err != nil {
		return changeError("Invalid Resource Record: %s", err)
	}
	for id, other := range op.Records {
		sameName, sameType := id != r.Text("id") && other.Text("name") == name, other.Text("type") == kind
		switch {
		case sameName && sameType:
			return changeError("Tried to create resource record set [name='%s.', type='%s'] but it already exists", name, kind)
		case sameName && !sameType && (other.Text("type") == "CNAME" || kind == "CNAME"):
			return changeError(
				"RRSet of type %s with DNS name %s. is not permitted as it conflicts with other records with the same DNS "+
					"name in zone %s.",
				kind, name, cloud.ZoneName)
		}
	}
	return nil
}

func recordID(r store.Record) string {
	return r.Text("zoneId") + "_" + r.Text("name") + "_" + r.Text("type")
}

// applyRecords updates the name server from the store.
func applyRecords(ctx context.Context, op *operation, _, _ store.Record) error {
	var records []dns.Record
	for _, r := range op.Records {
		records = append(records, dnsRecord(r))
	}
	slices.SortFunc(records, func(a, b dns.Record) int { return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type) })
	if err := op.cloud.ApplyRecords(ctx, records); err != nil {
		return fmt.Errorf("cannot update the DNS records of %s: %w", cloud.ZoneName, err)
	}
	return nil
}

// dnsRecord returns a record set as the provider sends it to the API. The provider encloses TXT values in
// quotation marks.
func dnsRecord(r store.Record) dns.Record {
	values := r.Texts("records")
	if r.Text("type") == "TXT" {
		for i, value := range values {
			values[i] = `"` + value + `"`
		}
	}
	return dns.Record{Name: r.Text("name"), Type: r.Text("type"), TTL: int64(r.Number("ttl")), Values: values}
}

// changeError returns Route 53's error for an invalid change.
func changeError(format string, args ...any) error {
	return apiError("InvalidChangeBatch", "[%s]", fmt.Sprintf(format, args...))
}
