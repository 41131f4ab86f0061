package awsplugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// errGone is the answer about a resource that does not exist (any more).
var errGone = errors.New("the resource does not exist")

// kind is a resource type. All operations on all types follow from their entries in
// schema.json; the hooks are what a type has of its own. All but shutDown run alone,
// within a transaction of the store.
type kind struct {
	*schema.Type
	rows rows
	id   func(r store.Record) string // for ids that are neither generated nor names

	// check refuses what AWS refuses, in a create and in an update. It may bring
	// the record to the form that AWS keeps.
	check func(op *operation, r store.Record) error
	// make completes a new record, and makes what it stands for.
	make func(ctx context.Context, op *operation, r store.Record) error
	// forbid refuses the changes in place that localcloud cannot make, by their paths, in a preview too.
	forbid func(paths []string) error
	// shutDown is what precedes the end of a resource and takes long: other operations continue meanwhile.
	shutDown func(ctx context.Context, c cloud.Cloud, id string) error
	// remove refuses the end of a resource, or ends what it stands for.
	remove func(ctx context.Context, op *operation, r store.Record) error
	// apply brings a change to whom it concerns, after it is in the store. before
	// is nil in a create, and after in a delete.
	apply func(ctx context.Context, op *operation, before, after store.Record) error
	// show returns the record as it is read, or errGone.
	show func(ctx context.Context, op *operation, r store.Record) (store.Record, error)
}

func (k *kind) create(ctx context.Context, op *operation, inputs property.Map) (string, error) {
	r := store.Record(k.Record(inputs))
	if auto := k.Autoname; auto != nil && r.Text(auto.PrefixProperty) != "" {
		r[auto.Property] = uniqueName(r.Text(auto.PrefixProperty))
	}
	if err := k.validate(op, nil, r); err != nil {
		return "", err
	}
	k.identify(op, r)
	if k.Exists != "" && op.record(k.Token, r.Text("id")) != nil {
		return "", apiError(k.Exists, "%s already exists: %s", k.label(), r.Text("id"))
	}
	if k.make != nil {
		if err := k.make(ctx, op, r); err != nil {
			return "", err
		}
	}
	id := r.Text("id")
	k.rows.put(op.State, id, r)
	return id, k.changed(ctx, op, nil, r)
}

// validate refuses what AWS refuses. before is nil in a create.
func (k *kind) validate(op *operation, before, after store.Record) error {
	if err := op.checkReferences(k, before, after); err != nil {
		return err
	}
	if err := k.Obeyed(after); err != nil {
		return err
	}
	if unique := k.Unique; unique != nil {
		for id, other := range k.rows.all(op.State) {
			differ := func(p string) bool { return after.Text(p) == "" || after.Text(p) != other.Text(p) }
			if id != after.Text("id") && !slices.ContainsFunc(unique.By, differ) {
				return apiError(unique.Code, "%s: %s", unique.Message, id)
			}
		}
	}
	if k.check == nil {
		return nil
	}
	return k.check(op, after)
}

// identify gives a new record its id, and what AWS shows along with it.
func (k *kind) identify(op *operation, r store.Record) {
	name := r.Text(k.nameProperty())
	if k.IDPrefix != "" {
		name = newID(k.IDPrefix)
	}
	r["id"] = name
	if k.id != nil {
		r["id"] = k.id(r)
	}
	for property, value := range map[string]string{
		"arn": k.arnOf(op.region, r.Text("path"), name), "ownerId": accountID,
		"createDate": time.Now().UTC().Format(time.RFC3339),
	} {
		if slices.Contains(k.Outputs, property) {
			r[property] = value
		}
	}
	for property, prefix := range k.UniqueIDs {
		r[property] = prefix + randomText(17)
	}
	if k.IDIsARN {
		r["id"] = r["arn"]
	}
}

func (k *kind) nameProperty() string {
	if k.Autoname != nil {
		return k.Autoname.Property
	}
	return k.NameProperty
}

func (k *kind) arnOf(region, path, name string) string {
	switch service, what, _ := strings.Cut(k.ARN, ":"); service {
	case "ec2":
		return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", region, accountID, what, name)
	case "iam":
		return "arn:aws:iam::" + accountID + ":" + what + cmp.Or(path, "/") + strings.TrimPrefix(name, "https://")
	default:
		return "arn:aws:s3:::" + name
	}
}

func (k *kind) label() string {
	_, what, _ := strings.Cut(k.ARN, ":")
	return cmp.Or(strings.ReplaceAll(what, "-", " "), "resource")
}

func (k *kind) read(ctx context.Context, op *operation, id string) (store.Record, error) {
	r := op.record(k.Token, id)
	if r == nil {
		return nil, errGone
	}
	if k.show != nil {
		return k.show(ctx, op, r)
	}
	return r, nil
}

func (k *kind) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	before := op.record(k.Token, id)
	if before == nil {
		return errGone
	}
	after := store.Record(k.Updated(before, inputs))
	if err := k.validate(op, before, after); err != nil {
		return err
	}
	k.rows.put(op.State, id, after)
	return k.changed(ctx, op, before, after)
}

// deletable returns the record of a resource that may end, or errGone.
func (k *kind) deletable(op *operation, id string) (store.Record, error) {
	r := op.record(k.Token, id)
	if r == nil {
		return nil, errGone
	}
	if user := op.userOf(k, id); user != "" {
		code := "DependencyViolation"
		if strings.HasPrefix(k.ARN, "iam:") {
			code = "DeleteConflict"
		}
		return nil, apiError(code, "The %s '%s' has dependencies and cannot be deleted: %s uses it.", k.label(), id, user)
	}
	return r, nil
}

func (k *kind) delete(ctx context.Context, op *operation, id string) error {
	r, err := k.deletable(op, id)
	if err != nil {
		return err
	}
	if k.remove != nil {
		if err := k.remove(ctx, op, r); err != nil {
			return err
		}
	}
	k.rows.drop(op.State, id)
	return k.changed(ctx, op, r, nil)
}

func (k *kind) changed(ctx context.Context, op *operation, before, after store.Record) error {
	if k.apply != nil {
		if err := k.apply(ctx, op, before, after); err != nil {
			return err
		}
	}
	if !k.Network {
		return nil
	}
	return op.applyGateways(ctx, op.network(before), op.network(after))
}

// fixed refuses changes in place of some properties. advice begins what to do.
func fixed(advice string, properties ...string) func(paths []string) error {
	return func(paths []string) error {
		for _, path := range paths {
			if property, _, _ := strings.Cut(path, "."); slices.Contains(properties, property) {
				return fmt.Errorf("a change of %s in place is not supported by localcloud: %s "+
					"pulumi.ReplaceOnChanges([]string{%q})", path, advice, path)
			}
		}
		return nil
	}
}

// either returns the record after a change, or of a resource that goes the one before it.
func either(before, after store.Record) store.Record {
	if after == nil {
		return before
	}
	return after
}

// record returns a resource of a type, or nil.
func (op *operation) record(token, id string) store.Record {
	return op.plugin.kinds[token].rows.all(op.State)[id]
}

// checkReferences refuses a record that refers to what does not exist, or to what
// belongs to different VPCs. A target that an update does not change may be gone by now.
func (op *operation) checkReferences(k *kind, before, after store.Record) error {
	network := op.network(after)
	for _, property := range slices.Sorted(maps.Keys(k.Inputs)) {
		to := op.plugin.kinds[k.Inputs[property].RefersTo]
		if to == nil || before != nil && reflect.DeepEqual(before[property], after[property]) {
			continue
		}
		for _, id := range after.Texts(property) {
			target := op.record(to.Token, id)
			if target == nil {
				return apiError(to.Missing, "The %s '%s' does not exist", to.label(), id)
			}
			if other := op.network(target); network != "" && other != "" && other != network {
				return invalidParameter("The %s '%s' belongs to another network than the rest: %s and %s are different networks",
					to.label(), id, other, network)
			}
		}
	}
	return nil
}

// userOf returns a resource that keeps another one from being deleted, or "".
func (op *operation) userOf(k *kind, id string) string {
	for _, token := range slices.Sorted(maps.Keys(op.plugin.kinds)) {
		other := op.plugin.kinds[token]
		for property, input := range other.Inputs {
			if input.RefersTo != k.Token || input.Weak {
				continue
			}
			for user, r := range other.rows.all(op.State) {
				if slices.Contains(r.Texts(property), id) && !op.comesWithVPC(user) {
					return user
				}
			}
		}
	}
	return ""
}

// network returns the VPC that a resource is in, or is, or "".
func (op *operation) network(r store.Record) string {
	switch {
	case r["vpcId"] != nil:
		return r.Text("vpcId")
	case r["subnetId"] != nil:
		return op.Subnets[r.Text("subnetId")].Text("vpcId")
	case r["routeTableId"] != nil:
		return op.RouteTables[r.Text("routeTableId")].Text("vpcId")
	case r["securityGroupId"] != nil:
		return op.SecurityGroups[r.Text("securityGroupId")].Text("vpcId")
	case op.Vpcs[r.Text("id")] != nil:
		return r.Text("id")
	}
	return ""
}

// kinds are what the resource types have of their own, by their tokens. All else is in
// schema/schema.json.
func kinds() map[string]*kind {
	return map[string]*kind{
		"aws:ec2/vpc:Vpc":                                     {make: makeVPC, remove: removeVPC},
		"aws:ec2/subnet:Subnet":                               {check: checkSubnet, remove: removeSubnet},
		"aws:ec2/internetGateway:InternetGateway":             {forbid: fixed("set", "vpcId"), remove: removeInternetGateway},
		"aws:ec2/routeTable:RouteTable":                       {check: checkRouteTable, remove: removeRouteTable},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": {},
		"aws:ec2/vpcEndpoint:VpcEndpoint":                     {check: checkVPCEndpoint, make: makeVPCEndpoint},
		"aws:ec2/securityGroup:SecurityGroup":                 {check: checkSecurityGroup, remove: removeSecurityGroup},
		"aws:ec2/securityGroupRule:SecurityGroupRule":         {check: checkGroupRule},
		"aws:ec2/instance:Instance": {
			forbid: fixed("this project replaces servers; set userDataReplaceOnChange, and", "iamInstanceProfile",
				"instanceType", "metadataOptions", "rootBlockDevice", "userData", "vpcSecurityGroupIds"),
			make: makeInstance, shutDown: shutDownInstance, remove: removeInstance, show: showInstance,
		},
		"aws:ec2/eip:Eip": {make: makeAddress, remove: removeAddress},
		// Every property of an association forces replacement.
		"aws:ec2/eipAssociation:EipAssociation": {rows: associationRows(), make: makeAssociation, apply: moveAddress},

		"aws:route53/record:Record": {
			id: recordID, check: checkRecord, forbid: fixed("set", "type"), apply: applyRecords,
		},

		"aws:iam/policy:Policy": {check: checkManagedPolicy, apply: applyManagedPolicy},
		"aws:iam/role:Role":     {check: checkRole, remove: removeRole, apply: applyRole},
		"aws:iam/rolePolicy:RolePolicy": {
			rows: rolePolicyRows(), id: rolePolicyID, check: checkRolePolicy, apply: applyRolePolicy,
		},
		"aws:iam/instanceProfile:InstanceProfile":             {apply: applyInstanceProfile, show: showInstanceProfile},
		"aws:iam/openIdConnectProvider:OpenIdConnectProvider": {check: checkProvider},

		"aws:s3/bucketV2:BucketV2": {
			check: checkBucket, make: makeBucket, remove: removeBucket, apply: applyBucket, show: showBucket,
		},
		"aws:s3/bucketVersioningV2:BucketVersioningV2":           {apply: applyVersioning},
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {},
		"aws:s3/bucketOwnershipControls:BucketOwnershipControls": {apply: applyOwnership},
		"aws:s3/bucketPolicy:BucketPolicy":                       {check: checkBucketPolicy, apply: applyBucketPolicy},

		"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": {check: checkLifecycle},

		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": {},
	}
}

type rows struct {
	all  func(s *store.State) store.Table
	put  func(s *store.State, id string, r store.Record)
	drop func(s *store.State, id string)
}

// in is the rows of a type that has a table of its own, or a part of another's.
func in(table string) rows {
	return rows{
		all:  func(s *store.State) store.Table { return s.Table(table) },
		put:  func(s *store.State, id string, r store.Record) { s.Put(table, id, r) },
		drop: func(s *store.State, id string) { s.Drop(table, id) },
	}
}
