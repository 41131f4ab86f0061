package awsplugin

import (
	"maps"
	"slices"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// kinds are what the resource types have of their own, by their tokens. All else is in
// schema/schema.json.
func kinds() map[string]*kind {
	type state = store.State
	return map[string]*kind{
		"aws:ec2/vpc:Vpc": {
			rows:  in(func(s *state) store.Table { return s.Vpcs }),
			check: checkVPC, make: makeVPC, remove: removeVPC,
		},
		"aws:ec2/subnet:Subnet": {
			rows:  in(func(s *state) store.Table { return s.Subnets }),
			check: checkSubnet, remove: removeSubnet,
		},
		"aws:ec2/internetGateway:InternetGateway": {
			rows:  in(func(s *state) store.Table { return s.InternetGateways }),
			check: checkInternetGateway, apply: detachInternetGateway,
		},
		"aws:ec2/routeTable:RouteTable": {
			rows:  in(func(s *state) store.Table { return s.RouteTables }),
			check: checkRouteTable, remove: removeRouteTable,
		},
		"aws:ec2/route:Route": {rows: routeRows(), id: routeID, check: checkRoute},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": {
			rows:  in(func(s *state) store.Table { return s.RouteTableAssociations }),
			check: checkRouteTableAssociation,
		},
		"aws:ec2/vpcEndpoint:VpcEndpoint": {
			rows:  in(func(s *state) store.Table { return s.VpcEndpoints }),
			check: checkVPCEndpoint, make: makeVPCEndpoint,
		},
		"aws:ec2/securityGroup:SecurityGroup": {
			rows:  in(func(s *state) store.Table { return s.SecurityGroups }),
			check: checkSecurityGroup, remove: removeSecurityGroup,
		},
		"aws:ec2/securityGroupRule:SecurityGroupRule": {rows: groupRuleRows(), id: groupRuleID, check: checkGroupRule},
		"aws:ec2/keyPair:KeyPair": {
			rows:  in(func(s *state) store.Table { return s.KeyPairs }),
			check: checkKeyPair,
		},
		"aws:ec2/instance:Instance": {
			rows: within(func(s *state) map[string]*store.Instance { return s.Instances },
				func(i *store.Instance) *store.Record { return &i.Shown }),
			check: checkInstance, forbid: forbidInstance, make: makeInstance, remove: removeInstance, apply: applyInstance,
			show: showInstance,
		},
		"aws:ec2/eip:Eip": {
			rows: in(func(s *state) store.Table { return s.Addresses }),
			make: makeAddress, remove: removeAddress,
		},
		// Every property of an association forces replacement.
		"aws:ec2/eipAssociation:EipAssociation": {rows: associationRows(), make: makeAssociation, apply: moveAddress},

		"aws:route53/record:Record": {
			rows: in(func(s *state) store.Table { return s.Records }), id: recordID,
			check: checkRecord, make: makeRecord, apply: applyRecords,
		},

		"aws:iam/policy:Policy": {
			rows:  in(func(s *state) store.Table { return s.Policies }),
			check: checkManagedPolicy, apply: applyManagedPolicy,
		},
		"aws:iam/role:Role": {
			rows: within(func(s *state) map[string]*store.Role { return s.Roles },
				func(r *store.Role) *store.Record { return &r.Shown }),
			check: checkRole, remove: removeRole, apply: applyRole,
		},
		"aws:iam/rolePolicy:RolePolicy": {
			rows: rolePolicyRows(), id: func(r store.Record) string { return r.Text("role") + ":" + r.Text("name") },
			check: checkRolePolicy, apply: applyRolePolicy,
		},
		"aws:iam/instanceProfile:InstanceProfile": {
			rows:  in(func(s *state) store.Table { return s.InstanceProfiles }),
			apply: applyInstanceProfile, show: showInstanceProfile,
		},
		providerToken: {
			rows:  in(func(s *state) store.Table { return s.OpenIDConnectProviders }),
			check: checkProvider,
		},

		"aws:s3/bucketV2:BucketV2": {
			rows: within(func(s *state) map[string]*store.Bucket { return s.Buckets },
				func(b *store.Bucket) *store.Record { return &b.Shown }),
			check: checkBucket, make: makeBucket, remove: removeBucket, apply: applyBucket, show: showBucket,
		},
		"aws:s3/bucketVersioningV2:BucketVersioningV2": {
			rows:  setting(func(b *store.Bucket) *store.Record { return &b.Versioning }),
			check: checkVersioning, apply: applyVersioning,
		},
		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": {
			rows:  setting(func(b *store.Bucket) *store.Record { return &b.Encryption }),
			check: checkEncryption,
		},
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {
			rows:  setting(func(b *store.Bucket) *store.Record { return &b.PublicAccess }),
			check: checkPublicAccess, apply: applyPublicAccess,
		},
		"aws:s3/bucketOwnershipControls:BucketOwnershipControls": {
			rows:  setting(func(b *store.Bucket) *store.Record { return &b.Ownership }),
			apply: applyOwnership,
		},
		"aws:s3/bucketPolicy:BucketPolicy": {
			rows:  setting(func(b *store.Bucket) *store.Record { return &b.Policy }),
			check: checkBucketPolicy, apply: applyBucketPolicy,
		},
		"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": {
			rows:  setting(func(b *store.Bucket) *store.Record { return &b.Lifecycle }),
			check: checkLifecycle,
		},
	}
}

// rows are the resources of a type in a state.
type rows struct {
	all  func(s *store.State) store.Table
	put  func(s *store.State, id string, r store.Record)
	drop func(s *store.State, id string)
}

// in is the rows of a type that has a table of its own.
func in(table func(s *store.State) store.Table) rows {
	return rows{
		all:  table,
		put:  func(s *store.State, id string, r store.Record) { table(s)[id] = r },
		drop: func(s *store.State, id string) { delete(table(s), id) },
	}
}

// within is the rows of a type that has more than its record, which goes with it.
func within[T any](entries func(s *store.State) map[string]*T, record func(entry *T) *store.Record) rows {
	return rows{
		all: func(s *store.State) store.Table {
			records := store.Table{}
			for id, entry := range entries(s) {
				if r := *record(entry); r != nil {
					records[id] = r
				}
			}
			return records
		},
		put: func(s *store.State, id string, r store.Record) {
			if entries(s)[id] == nil {
				entries(s)[id] = new(T)
			}
			*record(entries(s)[id]) = r
		},
		drop: func(s *store.State, id string) { delete(entries(s), id) },
	}
}

// setting is the rows of a setting of buckets, whose id is the bucket's name.
func setting(record func(b *store.Bucket) *store.Record) rows {
	settings := within(func(s *store.State) map[string]*store.Bucket { return s.Buckets }, record)
	settings.drop = func(s *store.State, id string) { *record(s.Buckets[id]) = nil }
	return settings
}

// listed is the rows of a type whose resources are elements of a list in another one,
// which their property parent names. elements are the element's properties by the
// resource's, and fixed is what all resources have.
func listed(
	parents func(s *store.State) store.Table, parent, list string, id func(r store.Record) string,
	elements map[string]string, fixed store.Record,
) rows {
	record := func(parentID string, element any) store.Record {
		r := store.Record{parent: parentID}
		maps.Copy(r, fixed)
		for property, name := range elements {
			if value, ok := element.(map[string]any)[name]; ok {
				r[property] = value
			}
		}
		r["id"] = id(r)
		return r
	}
	drop := func(s *store.State, id string) {
		for parentID, p := range parents(s) {
			p[list] = slices.DeleteFunc(p.List(list), func(element any) bool { return record(parentID, element)["id"] == id })
		}
	}
	return rows{
		all: func(s *store.State) store.Table {
			records := store.Table{}
			for parentID, p := range parents(s) {
				for _, element := range p.List(list) {
					r := record(parentID, element)
					records[r.Text("id")] = r
				}
			}
			return records
		},
		put: func(s *store.State, id string, r store.Record) {
			drop(s, id)
			element := map[string]any{}
			for property, name := range elements {
				if value, ok := r[property]; ok {
					element[name] = value
				}
			}
			p := parents(s)[r.Text(parent)]
			p[list] = append(p.List(list), element)
		},
		drop: drop,
	}
}
