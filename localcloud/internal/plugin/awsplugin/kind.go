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

// kind is a resource type. The operations are the same for all types and follow their entries in schema.json; the
// hooks implement what is specific to a type. All hooks except shutDown run within a transaction of the store.
type kind struct {
	*schema.Type
	rows rows
	id   func(r store.Record) string // for ids that are neither generated nor names

	// check validates a record as AWS does, in a create and in an update. It can also normalize the record to the
	// form that AWS stores.
	check func(op *operation, r store.Record) error
	// make completes a new record and creates the resource.
	make func(ctx context.Context, op *operation, r store.Record) error
	// checkUpdate rejects changes that localcloud cannot make in place, by property path. It also runs in a preview.
	checkUpdate func(paths []string) error
	// shutDown performs the slow first part of a deletion. It runs outside of the transaction, so that it does not
	// block other operations.
	shutDown func(ctx context.Context, c cloud.Cloud, id string) error
	// remove deletes the resource, or returns AWS's error if that is not allowed.
	remove func(ctx context.Context, op *operation, r store.Record) error
	// apply propagates a change to the systems that it affects, after the store has been updated. before is nil in a
	// create, after is nil in a delete.
	apply func(ctx context.Context, op *operation, before, after store.Record) error
	// show returns the record with its current state, or errNotFound.
	show func(ctx context.Context, op *operation, r store.Record) (store.Record, error)
}

var errNotFound = errors.New("the resource does not exist")

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

// validate returns AWS's error if a record is invalid. before is nil in a create.
func (k *kind) validate(op *operation, before, after store.Record) error {
	if err := op.checkReferences(k, before, after); err != nil {
		return err
	}
	if err := k.Obeyed(after); err != nil {
		return err
	}
	if unique := k.Unique; unique != nil {
		for id, other := range k.rows.all(op.State) {
			differs := func(p string) bool { return after.Text(p) == "" || after.Text(p) != other.Text(p) }
			if id != after.Text("id") && !slices.ContainsFunc(unique.By, differs) {
				return apiError(unique.Code, "%s: %s", unique.Message, id)
			}
		}
	}
	if k.check == nil {
		return nil
	}
	return k.check(op, after)
}

// identify sets the id of a new record and the other properties that AWS generates for all types.
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
	switch service, resource, _ := strings.Cut(k.ARN, ":"); service {
	case "ec2":
		return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", region, accountID, resource, name)
	case "iam":
		return "arn:aws:iam::" + accountID + ":" + resource + cmp.Or(path, "/") + strings.TrimPrefix(name, "https://")
	default:
		return "arn:aws:s3:::" + name
	}
}

func (k *kind) label() string {
	_, resource, _ := strings.Cut(k.ARN, ":")
	return cmp.Or(strings.ReplaceAll(resource, "-", " "), "resource")
}

func (k *kind) read(ctx context.Context, op *operation, id string) (store.Record, error) {
	r := op.record(k.Token, id)
	if r == nil {
		return nil, errNotFound
	}
	if k.show != nil {
		return k.show(ctx, op, r)
	}
	return r, nil
}

func (k *kind) update(ctx context.Context, op *operation, id string, inputs property.Map) error {
	before := op.record(k.Token, id)
	if before == nil {
		return errNotFound
	}
	after := store.Record(k.Updated(before, inputs))
	if err := k.validate(op, before, after); err != nil {
		return err
	}
	k.rows.put(op.State, id, after)
	return k.changed(ctx, op, before, after)
}

// deletable returns the record of a resource if it can be deleted, or else AWS's error or errNotFound.
func (k *kind) deletable(op *operation, id string) (store.Record, error) {
	r := op.record(k.Token, id)
	if r == nil {
		return nil, errNotFound
	}
	if dependent := op.dependentOf(k, id); dependent != "" {
		code := "DependencyViolation"
		if strings.HasPrefix(k.ARN, "iam:") {
			code = "DeleteConflict"
		}
		return nil, apiError(code,
			"The %s '%s' has dependencies and cannot be deleted: %s uses it.", k.label(), id, dependent)
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
	return op.applyGateways(ctx, op.vpcOf(before), op.vpcOf(after))
}

// immutable returns a checkUpdate hook that rejects changes of some properties. In its error, advice precedes the
// recommended resource option.
func immutable(advice string, properties ...string) func(paths []string) error {
	return func(paths []string) error {
		for _, path := range paths {
			if property, _, _ := strings.Cut(path, "."); slices.Contains(properties, property) {
				return fmt.Errorf(
					"localcloud cannot change %s in place: %s pulumi.ReplaceOnChanges([]string{%q})", path, advice, path)
			}
		}
		return nil
	}
}

// latest returns the record after a change, or the record before it if the resource is being deleted.
func latest(before, after store.Record) store.Record {
	if after == nil {
		return before
	}
	return after
}

// record returns the record of a resource, or nil.
func (op *operation) record(token, id string) store.Record {
	return op.plugin.kinds[token].rows.all(op.State)[id]
}

// checkReferences rejects a record that refers to a resource that does not exist or that is in another VPC. It
// skips references that an update does not change, since their targets may have been deleted since.
func (op *operation) checkReferences(k *kind, before, after store.Record) error {
	vpc := op.vpcOf(after)
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
			if other := op.vpcOf(target); vpc != "" && other != "" && other != vpc {
				return invalidParameter(
					"The %s '%s' is in a different network than the other resources: %s and %s are different networks",
					to.label(), id, other, vpc)
			}
		}
	}
	return nil
}

// dependentOf returns the id of a resource that refers to the given one and so prevents its deletion, or "".
func (op *operation) dependentOf(k *kind, id string) string {
	for _, token := range slices.Sorted(maps.Keys(op.plugin.kinds)) {
		other := op.plugin.kinds[token]
		for property, input := range other.Inputs {
			if input.RefersTo != k.Token || input.Weak {
				continue
			}
			for dependent, r := range other.rows.all(op.State) {
				if slices.Contains(r.Texts(property), id) && !op.deletedWithVPC(dependent) {
					return dependent
				}
			}
		}
	}
	return ""
}

// vpcOf returns the id of the VPC that a resource is in, the resource's own id if it is a VPC, or "".
func (op *operation) vpcOf(r store.Record) string {
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

// kinds returns the resource types with their hooks, by token. Everything else is defined in schema/schema.json.
func kinds() map[string]*kind {
	return map[string]*kind{
		"aws:ec2/vpc:Vpc":       {make: makeVPC, remove: removeVPC},
		"aws:ec2/subnet:Subnet": {check: checkSubnet, remove: removeSubnet},
		"aws:ec2/internetGateway:InternetGateway": {
			checkUpdate: immutable("set", "vpcId"), remove: removeInternetGateway,
		},
		"aws:ec2/routeTable:RouteTable":                       {check: checkRouteTable, remove: removeRouteTable},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": {},
		"aws:ec2/vpcEndpoint:VpcEndpoint":                     {check: checkVPCEndpoint, make: makeVPCEndpoint},
		"aws:ec2/securityGroup:SecurityGroup":                 {check: checkSecurityGroup, remove: removeSecurityGroup},
		"aws:ec2/securityGroupRule:SecurityGroupRule":         {check: checkGroupRule},
		"aws:ec2/instance:Instance": {
			checkUpdate: immutable("this project replaces servers; set userDataReplaceOnChange and", "iamInstanceProfile",
				"instanceType", "metadataOptions", "rootBlockDevice", "userData", "vpcSecurityGroupIds"),
			make: makeInstance, shutDown: shutDownInstance, remove: removeInstance, show: showInstance,
		},
		"aws:ec2/eip:Eip": {make: makeAddress, remove: removeAddress},
		// Every property of an association forces replacement.
		"aws:ec2/eipAssociation:EipAssociation": {rows: associationRows(), make: makeAssociation, apply: moveAddress},

		"aws:route53/record:Record": {
			id: recordID, check: checkRecord, checkUpdate: immutable("set", "type"), apply: applyRecords,
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

// rows accesses the records of a type in the store.
type rows struct {
	all  func(s *store.State) store.Table
	put  func(s *store.State, id string, r store.Record)
	drop func(s *store.State, id string)
}

// tableRows returns the rows of a type that is stored in a table, or in a part of another type's table.
func tableRows(table string) rows {
	return rows{
		all:  func(s *store.State) store.Table { return s.Table(table) },
		put:  func(s *store.State, id string, r store.Record) { s.Put(table, id, r) },
		drop: func(s *store.State, id string) { s.Drop(table, id) },
	}
}
