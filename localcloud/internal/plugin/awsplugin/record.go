package awsplugin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// record makes record sets in the one hosted zone.
type record struct{}

func (record) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	r, err := newRecordSet(inputs)
	if err != nil {
		return "", err
	}
	switch existing := op.recordSet(r.Name, r.Type); {
	case existing != nil && !r.AllowOverwrite:
		return "", recordExists(r)
	case existing != nil:
		delete(op.Records, existing.ID)
	case op.Records[r.ID] != nil:
		return "", fmt.Errorf("localcloud cannot create %s: the record set that had this id until its type changed keeps it; remove that one first", r.ID)
	}
	return r.ID, op.putRecord(ctx, r)
}

func (record) read(_ context.Context, op *operation, id string) (any, error) {
	return found(op.Records, id)
}

// update also changes the type: the real provider deletes the old set and creates the new
// one in one change, and the engine keeps the old id.
func (record) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	old, err := found(op.Records, id)
	if err != nil {
		return err
	}
	r, err := newRecordSet(inputs)
	if err != nil {
		return err
	}
	if r.Type != old.Type && op.recordSet(r.Name, r.Type) != nil {
		return recordExists(r)
	}
	r.ID = id
	return op.putRecord(ctx, r)
}

func (record) delete(ctx context.Context, op *operation, id string) error {
	if _, err := found(op.Records, id); err != nil {
		return err
	}
	delete(op.Records, id)
	return op.applyRecords(ctx)
}

// newRecordSet reads a record set, and checks what can be known of it alone.
func newRecordSet(inputs property.Map) (*store.RecordSet, error) {
	var r store.RecordSet
	if err := schema.Decode(inputs, &r); err != nil {
		return nil, err
	}
	if r.ZoneID != cloud.ZoneID {
		return nil, apiError("NoSuchHostedZone", "No hosted zone found with ID: %s; localcloud has %s (%s)", r.ZoneID, cloud.ZoneID, cloud.ZoneName)
	}
	r.Name = schema.NormalDomain(r.Name)
	r.Fqdn = r.Name
	r.ID = r.ZoneID + "_" + r.Name + "_" + r.Type
	if r.Name != cloud.ZoneName && !strings.HasSuffix(r.Name, "."+cloud.ZoneName) {
		// The real provider takes it for a name within the zone and puts the
		// zone's behind it, which is not what anybody means by another domain.
		return nil, changeError("RRSet with DNS name %s. is not permitted in zone %s.; write the full name, such as www.%s",
			r.Name, cloud.ZoneName, cloud.ZoneName)
	}
	if cloud.IsOwnName(r.Name) {
		return nil, changeError("RRSet with DNS name %s. is not permitted: the name is localcloud's own", r.Name)
	}
	if r.Name == cloud.ZoneName && r.Type == "CNAME" {
		return nil, changeError("RRSet of type CNAME with DNS name %s. is not permitted at apex in zone %s.", r.Name, cloud.ZoneName)
	}
	if r.Name == cloud.ZoneName && r.Type == "NS" {
		return nil, changeError("RRSet of type NS with DNS name %s. belongs to the zone: localcloud does not support another", r.Name)
	}
	if _, err := served(&r).RRs(); err != nil {
		return nil, changeError("Invalid Resource Record: %s", err)
	}
	return &r, nil
}

// recordSet returns the record set of a name and a type, or nil.
func (op *operation) recordSet(name, kind string) *store.RecordSet {
	for _, r := range op.Records {
		if r.Name == name && r.Type == kind {
			return r
		}
	}
	return nil
}

func recordExists(r *store.RecordSet) error {
	return changeError("Tried to create resource record set [name='%s.', type='%s'] but it already exists", r.Fqdn, r.Type)
}

// putRecord makes or replaces a record set.
func (op *operation) putRecord(ctx context.Context, r *store.RecordSet) error {
	for _, other := range op.Records {
		if other.ID != r.ID && other.Name == r.Name && other.Type != r.Type && (other.Type == "CNAME" || r.Type == "CNAME") {
			return changeError("RRSet of type %s with DNS name %s. is not permitted as it conflicts with other records with the same DNS name in zone %s.",
				r.Type, r.Name, cloud.ZoneName)
		}
	}
	op.Records[r.ID] = r
	return op.applyRecords(ctx)
}

// applyRecords brings the name server to what the store says.
func (op *operation) applyRecords(ctx context.Context) error {
	var records []dns.Record
	for _, r := range op.Records {
		records = append(records, served(r))
	}
	slices.SortFunc(records, func(a, b dns.Record) int { return strings.Compare(a.Name+" "+a.Type, b.Name+" "+b.Type) })
	if err := op.cloud.ApplyRecords(ctx, records); err != nil {
		return fmt.Errorf("apply the records of %s: %w", cloud.ZoneName, err)
	}
	return nil
}

// served is a record set as the API gets it. The provider puts a TXT value in
// quotation marks.
func served(r *store.RecordSet) dns.Record {
	values := slices.Clone(r.Records)
	if r.Type == "TXT" {
		for i, value := range values {
			values[i] = `"` + value + `"`
		}
	}
	return dns.Record{Name: r.Name, Type: r.Type, TTL: r.TTL, Values: values}
}

// changeError is the error of a change that Route 53 refuses.
func changeError(format string, args ...any) error {
	return apiError("InvalidChangeBatch", "[%s]", fmt.Sprintf(format, args...))
}
