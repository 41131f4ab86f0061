package awsplugin

import (
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
)

// permissions are the requests to AWS's APIs by which terraform-provider-aws
// 5.100, which pulumi-aws 6.83 bridges, does one thing with a resource of a type.
// After a create or an update the provider reads the resource, so both need the
// permissions of read, too; the table does not repeat them. It leaves out requests
// that the provider sends only under circumstances that localcloud does not have.
//
// A test compares the table with a recording of the provider. Which action a request
// needs, and on what, is as in AWS's Service Authorization Reference.
type permissions struct {
	create, read, update, delete func(q question) []call
}

// permissionsOf is the table: the permissions of each resource type.
func permissionsOf() map[string]permissions {
	return map[string]permissions{
		"aws:ec2/vpc:Vpc": {
			create: func(q question) []call {
				return all(
					q.makes("ec2:CreateVpc", "vpc"),
					q.ifTrue("enableDnsHostnames", q.on("ec2:ModifyVpcAttribute", q.self("vpc"))),
				)
			},
			read: func(q question) []call {
				return all(
					q.about("ec2:DescribeVpcs", "ec2:DescribeNetworkAcls", "ec2:DescribeRouteTables", "ec2:DescribeSecurityGroups"),
					q.on("ec2:DescribeVpcAttribute", q.self("vpc")),
				)
			},
			update: func(q question) []call {
				return all(
					q.retags(q.self("vpc")),
					q.ifChanged("enableDnsHostnames", q.on("ec2:ModifyVpcAttribute", q.self("vpc"))),
				)
			},
			delete: func(q question) []call { return all(q.on("ec2:DeleteVpc", q.self("vpc")), q.about("ec2:DescribeVpcs")) },
		},
		"aws:ec2/subnet:Subnet": {
			create: func(q question) []call {
				return all(
					q.makes("ec2:CreateSubnet", "subnet", q.ec2("vpc", q.text("vpcId"))),
					q.ifTrue("mapPublicIpOnLaunch", q.on("ec2:ModifySubnetAttribute", q.self("subnet"))),
				)
			},
			read: func(q question) []call { return q.about("ec2:DescribeSubnets") },
			update: func(q question) []call {
				return all(
					q.retags(q.self("subnet")),
					q.ifChanged("mapPublicIpOnLaunch", q.on("ec2:ModifySubnetAttribute", q.self("subnet"))),
				)
			},
			delete: func(q question) []call {
				return all(q.about("ec2:DescribeNetworkInterfaces"), q.on("ec2:DeleteSubnet", q.self("subnet")))
			},
		},
		"aws:ec2/internetGateway:InternetGateway": {
			create: func(q question) []call {
				return all(
					q.makes("ec2:CreateInternetGateway", "internet-gateway"),
					q.ifGiven("vpcId", q.on("ec2:AttachInternetGateway", q.self("internet-gateway"), q.ec2("vpc", q.text("vpcId")))),
				)
			},
			read: func(q question) []call { return q.about("ec2:DescribeInternetGateways") },
			update: func(q question) []call {
				return all(
					q.retags(q.self("internet-gateway")),
					q.ifChanged("vpcId", all(
						q.detachesGateway(),
						q.ifGiven("vpcId", q.on("ec2:AttachInternetGateway", q.self("internet-gateway"), q.ec2("vpc", q.text("vpcId")))),
					)),
				)
			},
			delete: func(q question) []call {
				return all(
					q.detachesGateway(),
					q.on("ec2:DeleteInternetGateway", q.self("internet-gateway")), q.about("ec2:DescribeInternetGateways"),
				)
			},
		},
		"aws:ec2/routeTable:RouteTable": {
			create: func(q question) []call {
				return all(
					q.makes("ec2:CreateRouteTable", "route-table", q.ec2("vpc", q.text("vpcId"))),
					q.ifGiven("routes", q.on("ec2:CreateRoute", q.self("route-table"))),
				)
			},
			read: func(q question) []call { return q.about("ec2:DescribeRouteTables") },
			update: func(q question) []call {
				return all(
					q.retags(q.self("route-table")),
					q.ifChanged("routes", all(
						q.on("ec2:CreateRoute", q.self("route-table")),
						q.on("ec2:ReplaceRoute", q.self("route-table")),
						q.on("ec2:DeleteRoute", q.self("route-table")),
					)),
				)
			},
			delete: func(q question) []call {
				calls := all(q.about("ec2:DescribeRouteTables"), q.on("ec2:DeleteRouteTable", q.self("route-table")))
				for _, a := range q.RouteTableAssociations {
					if a.RouteTableID == q.id {
						calls = append(calls, q.on("ec2:DisassociateRouteTable", q.self("route-table"), q.ec2("subnet", a.SubnetID))...)
					}
				}
				return calls
			},
		},
		"aws:ec2/route:Route": {
			create: func(q question) []call { return q.on("ec2:CreateRoute", q.ec2("route-table", q.text("routeTableId"))) },
			read:   func(q question) []call { return q.about("ec2:DescribeRouteTables") },
			update: func(q question) []call { return q.on("ec2:ReplaceRoute", q.ec2("route-table", q.text("routeTableId"))) },
			delete: func(q question) []call {
				return all(q.on("ec2:DeleteRoute", q.ec2("route-table", q.text("routeTableId"))), q.about("ec2:DescribeRouteTables"))
			},
		},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": {
			create: func(q question) []call { return q.on("ec2:AssociateRouteTable", q.tableAndSubnet()...) },
			read:   func(q question) []call { return q.about("ec2:DescribeRouteTables") },
			update: func(q question) []call { return q.on("ec2:ReplaceRouteTableAssociation", q.tableAndSubnet()...) },
			delete: func(q question) []call {
				return all(q.on("ec2:DisassociateRouteTable", q.tableAndSubnet()...), q.about("ec2:DescribeRouteTables"))
			},
		},
		"aws:ec2/vpcEndpoint:VpcEndpoint": {
			create: func(q question) []call {
				others := []target{q.ec2("vpc", q.text("vpcId"))}
				for _, id := range q.texts("routeTableIds") {
					others = append(others, q.ec2("route-table", id))
				}
				return q.makes("ec2:CreateVpcEndpoint", "vpc-endpoint", others...)
			},
			read: func(q question) []call { return q.about("ec2:DescribeVpcEndpoints", "ec2:DescribePrefixLists") },
			update: func(q question) []call {
				changed := []target{q.self("vpc-endpoint")}
				for _, id := range q.texts("routeTableIds") {
					changed = append(changed, q.ec2("route-table", id))
				}
				return all(q.retags(q.self("vpc-endpoint")), q.ifChanged("routeTableIds", q.on("ec2:ModifyVpcEndpoint", changed...)))
			},
			delete: func(q question) []call {
				return all(q.on("ec2:DeleteVpcEndpoints", q.self("vpc-endpoint")), q.about("ec2:DescribeVpcEndpoints"))
			},
		},
		"aws:ec2/securityGroupRule:SecurityGroupRule": {
			create: func(q question) []call {
				return all(q.about("ec2:DescribeSecurityGroups"), q.on("ec2:AuthorizeSecurityGroupIngress", q.rulesGroup()))
			},
			read: func(q question) []call {
				return q.about("ec2:DescribeSecurityGroups", "ec2:DescribeSecurityGroupRules")
			},
			update: func(q question) []call {
				return q.ifChanged("description", q.on("ec2:UpdateSecurityGroupRuleDescriptionsIngress", q.rulesGroup()))
			},
			delete: func(q question) []call {
				return all(q.about("ec2:DescribeSecurityGroups"), q.on("ec2:RevokeSecurityGroupIngress", q.rulesGroup()))
			},
		},
		"aws:ec2/securityGroup:SecurityGroup": {
			create: func(q question) []call {
				return all(
					q.makes("ec2:CreateSecurityGroup", "security-group", q.ec2("vpc", q.text("vpcId"))),
					// The rule that EC2 gives every new group.
					q.on("ec2:RevokeSecurityGroupEgress", q.self("security-group")),
					q.ifGiven("ingress", q.on("ec2:AuthorizeSecurityGroupIngress", q.self("security-group"))),
					q.ifGiven("egress", q.on("ec2:AuthorizeSecurityGroupEgress", q.self("security-group"))),
				)
			},
			read: func(q question) []call { return q.about("ec2:DescribeSecurityGroups") },
			update: func(q question) []call {
				group := q.self("security-group")
				return all(
					q.retags(group),
					q.ifChanged("ingress", all(q.on("ec2:RevokeSecurityGroupIngress", group), q.on("ec2:AuthorizeSecurityGroupIngress", group))),
					q.ifChanged("egress", all(q.on("ec2:RevokeSecurityGroupEgress", group), q.on("ec2:AuthorizeSecurityGroupEgress", group))),
				)
			},
			delete: func(q question) []call {
				group := q.self("security-group")
				return all(
					q.about("ec2:DescribeNetworkInterfaces"),
					q.ifTrue("revokeRulesOnDelete", all(q.on("ec2:RevokeSecurityGroupIngress", group), q.on("ec2:RevokeSecurityGroupEgress", group))),
					q.on("ec2:DeleteSecurityGroup", group), q.about("ec2:DescribeSecurityGroups"),
				)
			},
		},
		"aws:ec2/keyPair:KeyPair": {
			create: func(q question) []call {
				key := q.ec2("key-pair", q.name("keyName", "keyNamePrefix"))
				return all(q.on("ec2:ImportKeyPair", key.with(q.requestTags())), q.tagsNew("ImportKeyPair", key))
			},
			read:   func(q question) []call { return q.about("ec2:DescribeKeyPairs") },
			update: func(q question) []call { return q.retags(q.self("key-pair")) },
			delete: func(q question) []call {
				return q.on("ec2:DeleteKeyPair", q.self("key-pair"))
			},
		},
		"aws:ec2/instance:Instance": {
			create: func(q question) []call {
				volume, volumeTags := q.fresh("volume"), q.tags("volumeTags").request()
				others := []target{
					q.ec2("subnet", q.text("subnetId")), q.image(q.text("ami")), q.fresh("network-interface"), volume.with(volumeTags),
				}
				for _, id := range q.texts("vpcSecurityGroupIds") {
					others = append(others, q.ec2("security-group", id))
				}
				if key := q.text("keyName"); key != "" {
					others = append(others, q.ec2("key-pair", key))
				}
				return all(
					q.ifGiven("creditSpecification", q.about("ec2:DescribeInstanceTypes")),
					q.ifGiven("rootBlockDevice", q.about("ec2:DescribeImages")),
					q.makes("ec2:RunInstances", "instance", others...),
					q.ifGiven("iamInstanceProfile", q.passesRoleOf(q.text("iamInstanceProfile"))),
					q.ifGiven("volumeTags", q.on("ec2:CreateTags", volume.with(volumeTags, createAction("RunInstances")))),
					q.ifGiven("rootBlockDevice.tags", q.on("ec2:CreateTags", volume.with(q.tags("rootBlockDevice.tags").request()))),
					// The provider sets it once more on the instance that is made.
					q.ifGiven("instanceInitiatedShutdownBehavior", q.on("ec2:ModifyInstanceAttribute", q.self("instance"))),
				)
			},
			read: func(q question) []call {
				return all(
					q.about("ec2:DescribeInstances", "ec2:DescribeInstanceTypes", "ec2:DescribeTags", "ec2:DescribeVpcs", "ec2:DescribeVolumes",
						"ec2:DescribeInstanceCreditSpecifications"),
					q.on("ec2:DescribeInstanceAttribute", q.self("instance")),
				)
			},
			update: func(q question) []call {
				instance := q.self("instance")
				return all(
					q.retags(instance),
					q.ifChanged("volumeTags", q.retagsFrom("volumeTags", q.rootVolume())),
					q.ifChanged("rootBlockDevice.tags", q.retagsFrom("rootBlockDevice.tags", q.rootVolume())),
					q.ifChanged("iamInstanceProfile", all(
						q.about("ec2:DescribeIamInstanceProfileAssociations"),
						q.associatesProfile(instance),
						q.ifGiven("iamInstanceProfile", q.passesRoleOf(q.text("iamInstanceProfile"))),
					)),
					q.ifChanged("vpcSecurityGroupIds", q.on("ec2:ModifyNetworkInterfaceAttribute", q.interfaceAndGroups()...)),
					q.ifChanged("instanceInitiatedShutdownBehavior", q.on("ec2:ModifyInstanceAttribute", instance)),
					q.ifChanged("maintenanceOptions", q.on("ec2:ModifyInstanceMaintenanceOptions", instance)),
					q.ifChanged("creditSpecification", q.on("ec2:ModifyInstanceCreditSpecification", instance)),
					q.ifChanged("metadataOptions", q.on("ec2:ModifyInstanceMetadataOptions", instance)),
				)
			},
			delete: func(q question) []call {
				return all(
					// The provider lifts the protection from termination first. It only logs a refusal, which
					// is a refusal all the same.
					q.on("ec2:ModifyInstanceAttribute", q.self("instance")),
					q.on("ec2:TerminateInstances", q.self("instance")), q.about("ec2:DescribeInstances"),
				)
			},
		},
		"aws:ec2/eip:Eip": {
			create: func(q question) []call { return q.makes("ec2:AllocateAddress", "elastic-ip") },
			read: func(q question) []call {
				return all(q.about("ec2:DescribeAddresses"), q.on("ec2:DescribeAddressesAttribute", q.self("elastic-ip")))
			},
			update: func(q question) []call { return q.retags(q.self("elastic-ip")) },
			delete: func(q question) []call {
				calls := q.on("ec2:ReleaseAddress", q.self("elastic-ip"))
				if a := q.Addresses[q.id]; a != nil && a.AssociationID != "" {
					calls = append(calls, q.on("ec2:DisassociateAddress", q.self("elastic-ip"))...)
				}
				return calls
			},
		},
		"aws:ec2/eipAssociation:EipAssociation": {
			create: func(q question) []call {
				return q.on("ec2:AssociateAddress", q.ec2("elastic-ip", q.text("allocationId")), q.ec2("instance", q.text("instanceId")))
			},
			read: func(q question) []call { return q.about("ec2:DescribeAddresses") },
			update: func(question) []call {
				return nil // every property of it forces replacement
			},
			delete: func(q question) []call {
				return q.on("ec2:DisassociateAddress", q.ec2("elastic-ip", q.text("allocationId")))
			},
		},

		"aws:route53/record:Record": {
			create: question.changesRecord,
			read: func(q question) []call {
				return all(q.on("route53:GetHostedZone", hostedZone()), q.on("route53:ListResourceRecordSets", hostedZone()))
			},
			update: question.changesRecord,
			delete: func(q question) []call {
				return all(
					q.on("route53:GetHostedZone", hostedZone()), q.on("route53:ListResourceRecordSets", hostedZone()),
					q.changesRecord(),
				)
			},
		},

		"aws:iam/policy:Policy": {
			create: func(q question) []call {
				return all(
					q.on("iam:CreatePolicy", q.managedPolicy().with(q.requestTags())),
					q.ifGiven("tags", q.on("iam:TagPolicy", q.managedPolicy().with(q.requestTags()))),
				)
			},
			read: func(q question) []call {
				return all(q.on("iam:GetPolicy", q.managedPolicy()), q.on("iam:GetPolicyVersion", q.managedPolicy()))
			},
			update: func(q question) []call {
				return all(
					q.ifChanged("policy", all(q.on("iam:ListPolicyVersions", q.managedPolicy()), q.on("iam:CreatePolicyVersion", q.managedPolicy()))),
					q.retagsIAM("Policy", q.managedPolicy()),
				)
			},
			delete: func(q question) []call {
				return all(q.on("iam:ListPolicyVersions", q.managedPolicy()), q.on("iam:DeletePolicyVersion", q.managedPolicy()),
					q.on("iam:DeletePolicy", q.managedPolicy()))
			},
		},
		"aws:iam/role:Role": {
			create: func(q question) []call {
				return all(
					q.on("iam:CreateRole", q.role().with(q.requestTags())),
					q.ifGiven("tags", q.on("iam:TagRole", q.role().with(q.requestTags()))),
				)
			},
			read: func(q question) []call {
				calls := all(q.on("iam:GetRole", q.role()), q.on("iam:ListRolePolicies", q.role()), q.on("iam:ListAttachedRolePolicies", q.role()))
				if r := q.Roles[q.id]; r != nil && len(r.Policies) > 0 {
					calls = append(calls, q.on("iam:GetRolePolicy", q.role())...)
				}
				return calls
			},
			update: func(q question) []call {
				return all(
					q.ifChanged("assumeRolePolicy", q.on("iam:UpdateAssumeRolePolicy", q.role())),
					q.ifChanged("description", q.on("iam:UpdateRoleDescription", q.role())),
					q.ifChanged("maxSessionDuration", q.on("iam:UpdateRole", q.role())),
					q.ifChanged("permissionsBoundary", q.bounds()),
					q.retagsIAM("Role", q.role()),
				)
			},
			delete: func(q question) []call {
				calls := all(
					q.on("iam:ListInstanceProfilesForRole", q.role()),
					q.on("iam:ListRolePolicies", q.role()),
					q.ifTrue("forceDetachPolicies", all(q.on("iam:ListAttachedRolePolicies", q.role()), q.on("iam:DeleteRolePolicy", q.role()))),
					q.on("iam:DeleteRole", q.role()),
				)
				for _, p := range q.InstanceProfiles {
					if p.Role == q.id {
						calls = append(calls, q.on("iam:RemoveRoleFromInstanceProfile", q.profileNamed(p.Name))...)
					}
				}
				return calls
			},
		},
		"aws:iam/rolePolicy:RolePolicy": {
			create: func(q question) []call { return q.on("iam:PutRolePolicy", q.roleNamed(q.text("role"))) },
			read:   func(q question) []call { return q.on("iam:GetRolePolicy", q.policysRole()) },
			update: func(q question) []call { return q.on("iam:PutRolePolicy", q.policysRole()) },
			delete: func(q question) []call { return q.on("iam:DeleteRolePolicy", q.policysRole()) },
		},
		"aws:iam/instanceProfile:InstanceProfile": {
			create: func(q question) []call {
				return all(
					q.on("iam:CreateInstanceProfile", q.profile().with(q.requestTags())),
					q.ifGiven("tags", q.on("iam:TagInstanceProfile", q.profile().with(q.requestTags()))),
					q.ifGiven("role", q.addsRole()),
				)
			},
			read: func(q question) []call {
				role := q.profilesRole()
				switch {
				case role == "":
					return q.on("iam:GetInstanceProfile", q.profile())
				case q.id != "" && q.Roles[role] == nil:
					// The provider takes a role that is gone out of the profile, in a refresh as well.
					return all(q.on("iam:GetInstanceProfile", q.profile()), q.on("iam:GetRole", q.roleNamed(role)),
						q.on("iam:RemoveRoleFromInstanceProfile", q.profile()))
				}
				return all(q.on("iam:GetInstanceProfile", q.profile()), q.on("iam:GetRole", q.roleNamed(role)))
			},
			update: func(q question) []call {
				return all(
					q.ifChanged("role", all(q.on("iam:RemoveRoleFromInstanceProfile", q.profile()), q.ifGiven("role", q.addsRole()))),
					q.retagsIAM("InstanceProfile", q.profile()),
				)
			},
			delete: func(q question) []call {
				return all(
					q.ifGiven("role", q.on("iam:RemoveRoleFromInstanceProfile", q.profile())),
					q.on("iam:DeleteInstanceProfile", q.profile()),
				)
			},
		},

		"aws:iam/openIdConnectProvider:OpenIdConnectProvider": {
			create: func(q question) []call {
				return all(
					q.on("iam:CreateOpenIDConnectProvider", q.provider().with(q.requestTags())),
					q.ifGiven("tags", q.on("iam:TagOpenIDConnectProvider", q.provider().with(q.requestTags()))),
				)
			},
			read: func(q question) []call { return q.on("iam:GetOpenIDConnectProvider", q.provider()) },
			update: func(q question) []call {
				return all(
					q.ifChanged("thumbprintLists", q.on("iam:UpdateOpenIDConnectProviderThumbprint", q.provider())),
					q.changesClientIDs(),
					q.retagsIAM("OpenIDConnectProvider", q.provider()),
				)
			},
			delete: func(q question) []call { return q.on("iam:DeleteOpenIDConnectProvider", q.provider()) },
		},

		"aws:s3/bucketV2:BucketV2": {
			create: func(q question) []call {
				return all(q.onBucket("s3:CreateBucket"), q.ifGiven("tags", q.onBucket("s3:PutBucketTagging")))
			},
			// The provider reads all that once was part of the resource.
			read: func(q question) []call {
				return q.onBucket("s3:ListBucket", "s3:GetBucketPolicy", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketWebsite",
					"s3:GetBucketVersioning", "s3:GetAccelerateConfiguration", "s3:GetBucketRequestPayment", "s3:GetBucketLogging",
					"s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:GetEncryptionConfiguration",
					"s3:GetBucketObjectLockConfiguration", "s3:GetBucketTagging")
			},
			update: func(q question) []call { return q.ifChanged("tags", q.onBucket("s3:PutBucketTagging")) },
			delete: func(q question) []call {
				return all(
					q.onBucket("s3:DeleteBucket"),
					q.ifTrue("forceDestroy", all(
						q.onBucket("s3:ListBucketVersions"),
						q.on("s3:DeleteObject", q.objects()), q.on("s3:DeleteObjectVersion", q.objects()),
					)),
					q.onBucket("s3:ListBucket"), // HeadBucket, until the bucket is gone
				)
			},
		},
		"aws:s3/bucketVersioningV2:BucketVersioningV2": bucketSetting("s3:GetBucketVersioning", "s3:PutBucketVersioning", "s3:PutBucketVersioning"),
		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": bucketSetting(
			"s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration", "s3:PutEncryptionConfiguration"),
		// The provider asks for these settings until they are gone.
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": bucketSetting(
			"s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock", "s3:GetBucketPublicAccessBlock"),
		"aws:s3/bucketOwnershipControls:BucketOwnershipControls": bucketSetting(
			"s3:GetBucketOwnershipControls", "s3:PutBucketOwnershipControls", "s3:PutBucketOwnershipControls", "s3:GetBucketOwnershipControls"),
		"aws:s3/bucketPolicy:BucketPolicy": bucketSetting(
			"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy", "s3:GetBucketPolicy"),
		"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": bucketSetting(
			"s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration", "s3:PutLifecycleConfiguration", "s3:GetLifecycleConfiguration"),
	}
}

// bucketSetting are the permissions of a resource that is a setting of a bucket.
func bucketSetting(get, put string, remove ...string) permissions {
	return permissions{
		create: func(q question) []call { return q.onBucket(put) },
		read:   func(q question) []call { return q.onBucket(get) },
		update: func(q question) []call { return q.onBucket(put) },
		delete: func(q question) []call { return q.onBucket(remove...) },
	}
}

// The following are what several entries of the table have in common.

func (q question) detachesGateway() []call {
	if g := q.InternetGateways[q.id]; g != nil && g.VpcID != "" {
		return q.on("ec2:DetachInternetGateway", q.self("internet-gateway"), q.ec2("vpc", g.VpcID))
	}
	return nil
}

// rulesGroup is the security group that a rule of its own is in.
func (q question) rulesGroup() target { return q.ec2("security-group", q.text("securityGroupId")) }

func (q question) tableAndSubnet() []target {
	return []target{q.ec2("route-table", q.text("routeTableId")), q.ec2("subnet", q.text("subnetId"))}
}

func (q question) interfaceAndGroups() []target {
	targets := []target{q.fresh("network-interface")}
	if i := q.Instances[q.id]; i != nil {
		targets[0] = q.ec2("network-interface", i.Instance.PrimaryNetworkInterfaceID)
	}
	for _, id := range q.texts("vpcSecurityGroupIds") {
		targets = append(targets, q.ec2("security-group", id))
	}
	return targets
}

// associatesProfile gives an instance another profile, or its first one.
func (q question) associatesProfile(instance target) []call {
	if i := q.Instances[q.id]; i != nil && i.Instance.IamInstanceProfile != "" {
		return q.on("ec2:ReplaceIamInstanceProfileAssociation", instance)
	}
	return q.on("ec2:AssociateIamInstanceProfile", instance)
}

// bounds gives a role another permissions boundary, or takes it away. IAM's condition key has the boundary of the
// request, or else the one that the role has.
func (q question) bounds() []call {
	boundary := at(q.inputs, "permissionsBoundary")
	if !boundary.IsString() || boundary.AsString() == "" {
		return q.on("iam:DeleteRolePermissionsBoundary", q.role())
	}
	return q.on("iam:PutRolePermissionsBoundary", q.role().with(boundedBy(boundary.AsString())))
}

// changesClientIDs adds and removes the client ids of an OIDC provider one by one.
func (q question) changesClientIDs() []call {
	before, after := texts(q.old, "clientIdLists"), q.texts("clientIdLists")
	var calls []call
	if slices.ContainsFunc(after, func(id string) bool { return !slices.Contains(before, id) }) {
		calls = append(calls, q.on("iam:AddClientIDToOpenIDConnectProvider", q.provider())...)
	}
	if slices.ContainsFunc(before, func(id string) bool { return !slices.Contains(after, id) }) {
		calls = append(calls, q.on("iam:RemoveClientIDFromOpenIDConnectProvider", q.provider())...)
	}
	return calls
}

// passesRoleOf is needed to give the role of an instance profile to EC2.
func (q question) passesRoleOf(profile string) []call {
	if p := q.InstanceProfiles[profile]; p != nil && p.Role != "" {
		return q.passes(p.Role)
	}
	return nil
}

func (q question) passes(role string) []call {
	return q.on("iam:PassRole", q.roleNamed(role).with(map[string]string{"iam:passedtoservice": "ec2.amazonaws.com"}))
}

func (q question) addsRole() []call {
	return all(q.on("iam:AddRoleToInstanceProfile", q.profile()), q.passes(q.text("role")))
}

func (q question) changesRecord() []call {
	return all(
		q.on("route53:GetHostedZone", hostedZone()), q.on("route53:ChangeResourceRecordSets", hostedZone().with(q.recordName())),
		q.on("route53:GetChange", target{arn: "arn:aws:route53:::change/*"}),
	)
}

// recordName is the name of the record as the condition key of requests that change it.
func (q question) recordName() map[string]string {
	name := strings.TrimSuffix(strings.ToLower(q.text("name")), ".")
	return map[string]string{"route53:changeresourcerecordsetsnormalizedrecordnames": strings.Replace(name, "*", `\052`, 1)}
}

func hostedZone() target { return target{arn: "arn:aws:route53:::hostedzone/" + cloud.ZoneID} }

// policysRole is the role whose inline policy is asked about.
func (q question) policysRole() target {
	role, _, _ := strings.Cut(q.id, ":")
	if role == "" {
		role = q.text("role")
	}
	return q.roleNamed(role)
}

func (q question) profilesRole() string {
	if p := q.InstanceProfiles[q.id]; p != nil {
		return p.Role
	}
	return q.text("role")
}

func all(calls ...[]call) []call { return slices.Concat(calls...) }
