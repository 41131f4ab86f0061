package awsplugin

import (
	"maps"
	"slices"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// kinds are what the resource types have of their own, by their tokens. All else is in
// schema/schema.json.
func kinds() map[string]*kind {
	return map[string]*kind{
		"aws:ec2/vpc:Vpc":                                     {check: checkVPC, make: makeVPC, remove: removeVPC},
		"aws:ec2/subnet:Subnet":                               {check: checkSubnet, remove: removeSubnet},
		"aws:ec2/internetGateway:InternetGateway":             {check: checkInternetGateway, apply: detachInternetGateway},
		"aws:ec2/routeTable:RouteTable":                       {check: checkRouteTable, remove: removeRouteTable},
		"aws:ec2/route:Route":                                 {rows: routeRows(), id: routeID, check: checkRoute},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": {check: checkRouteTableAssociation},
		"aws:ec2/vpcEndpoint:VpcEndpoint":                     {check: checkVPCEndpoint, make: makeVPCEndpoint},
		"aws:ec2/securityGroup:SecurityGroup":                 {check: checkSecurityGroup, remove: removeSecurityGroup},
		"aws:ec2/securityGroupRule:SecurityGroupRule":         {rows: groupRuleRows(), id: groupRuleID, check: checkGroupRule},
		"aws:ec2/keyPair:KeyPair":                             {check: checkKeyPair},
		"aws:ec2/instance:Instance": {
			check: checkInstance, forbid: forbidInstance, make: makeInstance, remove: removeInstance, apply: applyInstance,
			show: showInstance,
		},
		"aws:ec2/eip:Eip": {make: makeAddress, remove: removeAddress},
		// Every property of an association forces replacement.
		"aws:ec2/eipAssociation:EipAssociation": {rows: associationRows(), make: makeAssociation, apply: moveAddress},

		"aws:route53/record:Record": {id: recordID, check: checkRecord, make: makeRecord, apply: applyRecords},

		"aws:iam/policy:Policy": {check: checkManagedPolicy, apply: applyManagedPolicy},
		"aws:iam/role:Role":     {check: checkRole, remove: removeRole, apply: applyRole},
		"aws:iam/rolePolicy:RolePolicy": {
			rows: rolePolicyRows(), id: rolePolicyID, check: checkRolePolicy, apply: applyRolePolicy,
		},
		"aws:iam/instanceProfile:InstanceProfile": {apply: applyInstanceProfile, show: showInstanceProfile},
		providerToken: {check: checkProvider},

		"aws:s3/bucketV2:BucketV2": {
			check: checkBucket, make: makeBucket, remove: removeBucket, apply: applyBucket, show: showBucket,
		},
		"aws:s3/bucketVersioningV2:BucketVersioningV2":           {check: checkVersioning, apply: applyVersioning},
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {check: checkPublicAccess, apply: applyPublicAccess},
		"aws:s3/bucketOwnershipControls:BucketOwnershipControls": {apply: applyOwnership},
		"aws:s3/bucketPolicy:BucketPolicy":                       {check: checkBucketPolicy, apply: applyBucketPolicy},

		"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": {check: checkLifecycle},

		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": {
			check: checkEncryption,
		},
	}
}

// rows are the resources of a type in a state.
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
