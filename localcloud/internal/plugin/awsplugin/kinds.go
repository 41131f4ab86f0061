package awsplugin

import "immutable-infra/localcloud/internal/plugin/awsplugin/store"

// kinds declares the resource types by their tokens. The properties of each are
// in schema/schema.json.
func kinds() map[string]*kind {
	const (
		vpc, subnet, table     = "aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:ec2/routeTable:RouteTable"
		group, key             = "aws:ec2/securityGroup:SecurityGroup", "aws:ec2/keyPair:KeyPair"
		instance, address      = "aws:ec2/instance:Instance", "aws:ec2/eip:Eip"
		role, managed, profile = "aws:iam/role:Role", "aws:iam/policy:Policy", "aws:iam/instanceProfile:InstanceProfile"
		bucket                 = "aws:s3/bucketV2:BucketV2"
	)
	inVPC, ofBucket := reference{property: "vpcId", to: vpc}, []reference{{property: "bucket", to: bucket, weak: true}}
	return map[string]*kind{
		vpc: {
			arn: "ec2:vpc", prefix: "vpc", rows: in(func(s *store.State) store.Table { return s.Vpcs }),
			missing: "InvalidVpcID.NotFound",
			check:   checkVPC, make: makeVPC, remove: removeVPC,
			permissions: permissions{
				create: "ec2:CreateVpc @new; given enableDnsHostnames: ec2:ModifyVpcAttribute @self",
				read: "ec2:DescribeVpcs ec2:DescribeNetworkAcls ec2:DescribeRouteTables ec2:DescribeSecurityGroups;" +
					"ec2:DescribeVpcAttribute @self",
				update: "changed enableDnsHostnames: ec2:ModifyVpcAttribute @self",
				delete: "ec2:DeleteVpc @self; ec2:DescribeVpcs",
			},
		},
		subnet: {
			arn: "ec2:subnet", prefix: "subnet", rows: in(func(s *store.State) store.Table { return s.Subnets }),
			missing: "InvalidSubnetID.NotFound", refs: []reference{inVPC},
			check: checkSubnet, remove: removeSubnet,
			permissions: permissions{
				create: "ec2:CreateSubnet @new @vpcId; given mapPublicIpOnLaunch: ec2:ModifySubnetAttribute @self",
				read:   "ec2:DescribeSubnets",
				update: "changed mapPublicIpOnLaunch: ec2:ModifySubnetAttribute @self",
				delete: "ec2:DescribeNetworkInterfaces; ec2:DeleteSubnet @self",
			},
		},
		"aws:ec2/internetGateway:InternetGateway": {
			arn: "ec2:internet-gateway", prefix: "igw", rows: in(func(s *store.State) store.Table { return s.InternetGateways }),
			refs: []reference{inVPC}, network: true,
			check: checkInternetGateway, apply: detachInternetGateway,
			permissions: permissions{
				create: "ec2:CreateInternetGateway @new; given vpcId: ec2:AttachInternetGateway @self @vpcId",
				read:   "ec2:DescribeInternetGateways",
				update: "changed vpcId: detach; changed vpcId given vpcId: ec2:AttachInternetGateway @self @vpcId",
				delete: "detach; ec2:DeleteInternetGateway @self; ec2:DescribeInternetGateways",
			},
		},
		table: {
			arn: "ec2:route-table", prefix: "rtb", rows: in(func(s *store.State) store.Table { return s.RouteTables }),
			missing: "InvalidRouteTableID.NotFound", refs: []reference{inVPC}, network: true,
			check: checkRouteTable, remove: removeRouteTable,
			permissions: permissions{
				create: "ec2:CreateRouteTable @new @vpcId; given routes: ec2:CreateRoute @self",
				read:   "ec2:DescribeRouteTables",
				update: "changed routes: ec2:CreateRoute ec2:ReplaceRoute ec2:DeleteRoute @self",
				delete: "ec2:DescribeRouteTables; ec2:DeleteRouteTable @self; disassociateSubnets",
			},
		},
		"aws:ec2/route:Route": {
			rows: routeRows(), id: func(r store.Record) string { return routeID(r.Text("routeTableId"), r.Text("destinationCidrBlock")) },
			exists: "RouteAlreadyExists", refs: []reference{{property: "routeTableId", to: table, weak: true}}, network: true,
			check: func(op *operation, r store.Record) error {
				return op.checkRoute(op.RouteTables[r.Text("routeTableId")], r)
			},
			permissions: permissions{
				create: "ec2:CreateRoute @routeTableId",
				read:   "ec2:DescribeRouteTables",
				update: "ec2:ReplaceRoute @routeTableId",
				delete: "ec2:DeleteRoute @routeTableId; ec2:DescribeRouteTables",
			},
		},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": {
			prefix: "rtbassoc", rows: in(func(s *store.State) store.Table { return s.RouteTableAssociations }),
			refs:    []reference{{property: "subnetId", to: subnet, weak: true}, {property: "routeTableId", to: table}},
			network: true, check: checkRouteTableAssociation,
			permissions: permissions{
				create: "ec2:AssociateRouteTable @routeTableId @subnetId",
				read:   "ec2:DescribeRouteTables",
				update: "ec2:ReplaceRouteTableAssociation @routeTableId @subnetId",
				delete: "ec2:DisassociateRouteTable @routeTableId @subnetId; ec2:DescribeRouteTables",
			},
		},
		"aws:ec2/vpcEndpoint:VpcEndpoint": {
			arn: "ec2:vpc-endpoint", prefix: "vpce", rows: in(func(s *store.State) store.Table { return s.VpcEndpoints }),
			refs:  []reference{inVPC, {property: "routeTableIds", to: table, weak: true}},
			check: checkVPCEndpoint, make: makeVPCEndpoint,
			permissions: permissions{
				create: "ec2:CreateVpcEndpoint @new @vpcId @routeTableIds",
				read:   "ec2:DescribeVpcEndpoints ec2:DescribePrefixLists",
				update: "changed routeTableIds: ec2:ModifyVpcEndpoint @self @routeTableIds",
				delete: "ec2:DeleteVpcEndpoints @self; ec2:DescribeVpcEndpoints",
			},
		},
		group: {
			arn: "ec2:security-group", prefix: "sg", rows: in(func(s *store.State) store.Table { return s.SecurityGroups }),
			missing: "InvalidGroup.NotFound", refs: []reference{inVPC}, network: true,
			check: checkSecurityGroup, remove: removeSecurityGroup,
			permissions: permissions{
				// The provider revokes the rule that EC2 gives every new group.
				create: "ec2:CreateSecurityGroup @new @vpcId; ec2:RevokeSecurityGroupEgress @self;" +
					"given ingress: ec2:AuthorizeSecurityGroupIngress @self; given egress: ec2:AuthorizeSecurityGroupEgress @self",
				read: "ec2:DescribeSecurityGroups",
				update: "changed ingress: ec2:RevokeSecurityGroupIngress ec2:AuthorizeSecurityGroupIngress @self;" +
					"changed egress: ec2:RevokeSecurityGroupEgress ec2:AuthorizeSecurityGroupEgress @self",
				delete: "ec2:DescribeNetworkInterfaces;" +
					"given revokeRulesOnDelete: ec2:RevokeSecurityGroupIngress ec2:RevokeSecurityGroupEgress @self;" +
					"ec2:DeleteSecurityGroup @self; ec2:DescribeSecurityGroups",
			},
		},
		"aws:ec2/securityGroupRule:SecurityGroupRule": {
			rows: groupRuleRows(), id: func(r store.Record) string { return groupRuleID(r.Text("securityGroupId"), r) },
			refs: []reference{{property: "securityGroupId", to: group, weak: true}}, network: true, check: checkGroupRule,
			permissions: permissions{
				create: "ec2:DescribeSecurityGroups; ec2:AuthorizeSecurityGroupIngress @securityGroupId",
				read:   "ec2:DescribeSecurityGroups ec2:DescribeSecurityGroupRules",
				update: "changed description: ec2:UpdateSecurityGroupRuleDescriptionsIngress @securityGroupId",
				delete: "ec2:DescribeSecurityGroups; ec2:RevokeSecurityGroupIngress @securityGroupId",
			},
		},
		key: {
			arn: "ec2:key-pair", rows: in(func(s *store.State) store.Table { return s.KeyPairs }),
			missing: "InvalidKeyPair.NotFound", exists: "InvalidKeyPair.Duplicate", check: checkKeyPair,
			permissions: permissions{
				create: "ec2:ImportKeyPair @new",
				read:   "ec2:DescribeKeyPairs",
				delete: "ec2:DeleteKeyPair @self",
			},
		},
		instance: {
			arn: "ec2:instance", prefix: "i", rows: instanceRows(), missing: "InvalidInstanceID.NotFound",
			refs: []reference{
				{property: "subnetId", to: subnet}, {property: "vpcSecurityGroupIds", to: group}, {property: "keyName", to: key, weak: true},
			},
			check: checkInstance, make: makeInstance, forbid: forbidInstance, remove: removeInstance, apply: applyInstance, show: showInstance,
			permissions: permissions{
				create: "given creditSpecification: ec2:DescribeInstanceTypes; given rootBlockDevice: ec2:DescribeImages;" +
					"ec2:RunInstances @new @subnetId @image @newInterface @newVolume @vpcSecurityGroupIds @keyName;" +
					"given iamInstanceProfile: passProfilesRole; given volumeTags: tagNewVolume; given rootBlockDevice.tags: tagRootVolume;" +
					// The provider sets it once more on the instance that is made.
					"given instanceInitiatedShutdownBehavior: ec2:ModifyInstanceAttribute @self",
				read: "ec2:DescribeInstances ec2:DescribeInstanceTypes ec2:DescribeTags ec2:DescribeVpcs ec2:DescribeVolumes" +
					" ec2:DescribeInstanceCreditSpecifications; ec2:DescribeInstanceAttribute @self",
				update: "changed volumeTags: retagVolume; changed rootBlockDevice.tags: retagRootVolume;" +
					"changed iamInstanceProfile: ec2:DescribeIamInstanceProfileAssociations; changed iamInstanceProfile: associateProfile;" +
					"changed iamInstanceProfile given iamInstanceProfile: passProfilesRole;" +
					"changed vpcSecurityGroupIds: ec2:ModifyNetworkInterfaceAttribute @interface @vpcSecurityGroupIds;" +
					"changed instanceInitiatedShutdownBehavior: ec2:ModifyInstanceAttribute @self;" +
					"changed maintenanceOptions: ec2:ModifyInstanceMaintenanceOptions @self;" +
					"changed creditSpecification: ec2:ModifyInstanceCreditSpecification @self;" +
					"changed metadataOptions: ec2:ModifyInstanceMetadataOptions @self",
				// The provider lifts the protection from termination first. It only logs a refusal, which
				// is a refusal all the same.
				delete: "ec2:ModifyInstanceAttribute ec2:TerminateInstances @self; ec2:DescribeInstances",
			},
		},
		address: {
			arn: "ec2:elastic-ip", prefix: "eipalloc", rows: in(func(s *store.State) store.Table { return s.Addresses }),
			missing: "InvalidAllocationID.NotFound", make: makeAddress, remove: removeAddress,
			permissions: permissions{
				create: "ec2:AllocateAddress @new",
				read:   "ec2:DescribeAddresses; ec2:DescribeAddressesAttribute @self",
				delete: "ec2:ReleaseAddress @self; disassociateAddress",
			},
		},
		// Every property of an association forces replacement.
		"aws:ec2/eipAssociation:EipAssociation": {
			prefix: "eipassoc", rows: associationRows(),
			refs: []reference{{property: "allocationId", to: address, weak: true}, {property: "instanceId", to: instance, weak: true}},
			make: makeAssociation, apply: moveAddress,
			permissions: permissions{
				create: "ec2:AssociateAddress @allocationId @instanceId",
				read:   "ec2:DescribeAddresses",
				delete: "ec2:DisassociateAddress @allocationId",
			},
		},

		"aws:route53/record:Record": {
			rows: in(func(s *store.State) store.Table { return s.Records }), id: recordID,
			check: checkRecord, make: makeRecord, apply: applyRecords,
			permissions: permissions{
				create: "changeRecord",
				read:   "route53:GetHostedZone route53:ListResourceRecordSets @zone",
				update: "changeRecord",
				delete: "route53:GetHostedZone route53:ListResourceRecordSets @zone; changeRecord",
			},
		},

		managed: {
			arn: "iam:policy", idIsARN: true, rows: in(func(s *store.State) store.Table { return s.Policies }),
			missing: "NoSuchEntity", exists: "EntityAlreadyExists",
			check: checkManagedPolicy, make: makeUnique("policyId", "ANPA"), apply: applyManagedPolicy,
			permissions: permissions{
				create: "iam:CreatePolicy @new",
				read:   "iam:GetPolicy iam:GetPolicyVersion @self",
				update: "changed policy: iam:ListPolicyVersions iam:CreatePolicyVersion @self",
				delete: "iam:ListPolicyVersions iam:DeletePolicyVersion iam:DeletePolicy @self",
			},
		},
		role: {
			arn: "iam:role", rows: roleRows(), missing: "NoSuchEntity", exists: "EntityAlreadyExists",
			refs:  []reference{{property: "permissionsBoundary", to: managed}},
			check: checkRole, make: makeUnique("uniqueId", "AROA"), remove: removeRole, apply: applyRole,
			permissions: permissions{
				create: "iam:CreateRole @new",
				read:   "iam:GetRole iam:ListRolePolicies iam:ListAttachedRolePolicies @self; readPolicies",
				update: "changed assumeRolePolicy: iam:UpdateAssumeRolePolicy @self; changed description: iam:UpdateRoleDescription @self;" +
					"changed maxSessionDuration: iam:UpdateRole @self; changed permissionsBoundary: bound",
				delete: "iam:ListInstanceProfilesForRole iam:ListRolePolicies @self;" +
					"given forceDetachPolicies: iam:ListAttachedRolePolicies iam:DeleteRolePolicy @self; iam:DeleteRole @self; leaveProfiles",
			},
		},
		"aws:iam/rolePolicy:RolePolicy": {
			rows: rolePolicyRows(), id: func(r store.Record) string { return r.Text("role") + ":" + r.Text("name") },
			refs:  []reference{{property: "role", to: role, weak: true}},
			check: checkRolePolicy, apply: applyRolePolicy,
			permissions: permissions{
				create: "iam:PutRolePolicy @role", read: "iam:GetRolePolicy @role",
				update: "iam:PutRolePolicy @role", delete: "iam:DeleteRolePolicy @role",
			},
		},
		profile: {
			arn: "iam:instance-profile", rows: in(func(s *store.State) store.Table { return s.InstanceProfiles }),
			exists: "EntityAlreadyExists", refs: []reference{{property: "role", to: role, weak: true}},
			check: checkInstanceProfile, make: makeUnique("uniqueId", "AIPA"), apply: applyInstanceProfile, show: showInstanceProfile,
			permissions: permissions{
				create: "iam:CreateInstanceProfile @new; given role: iam:AddRoleToInstanceProfile @self; given role: passRole",
				read:   "iam:GetInstanceProfile @self; readProfilesRole",
				update: "changed role: iam:RemoveRoleFromInstanceProfile @self;" +
					"changed role given role: iam:AddRoleToInstanceProfile @self; changed role given role: passRole",
				delete: "given role: iam:RemoveRoleFromInstanceProfile @self; iam:DeleteInstanceProfile @self",
			},
		},
		providerToken: {
			arn: "iam:oidc-provider", name: "url", idIsARN: true,
			rows:   in(func(s *store.State) store.Table { return s.OpenIDConnectProviders }),
			exists: "EntityAlreadyExists", check: checkProvider,
			permissions: permissions{
				create: "iam:CreateOpenIDConnectProvider @new",
				read:   "iam:GetOpenIDConnectProvider @self",
				update: "changed thumbprintLists: iam:UpdateOpenIDConnectProviderThumbprint @self; changeClientIDs",
				delete: "iam:DeleteOpenIDConnectProvider @self",
			},
		},

		bucket: {
			arn: "s3:bucket", rows: bucketRows(), missing: "NoSuchBucket", exists: "BucketAlreadyOwnedByYou",
			check: checkBucket, make: makeBucket, remove: removeBucket, apply: applyBucket, show: showBucket,
			permissions: permissions{
				create: "s3:CreateBucket @new",
				// The provider reads all that once was part of the resource.
				read: "s3:ListBucket s3:GetBucketPolicy s3:GetBucketAcl s3:GetBucketCORS s3:GetBucketWebsite s3:GetBucketVersioning" +
					" s3:GetAccelerateConfiguration s3:GetBucketRequestPayment s3:GetBucketLogging s3:GetLifecycleConfiguration" +
					" s3:GetReplicationConfiguration s3:GetEncryptionConfiguration s3:GetBucketObjectLockConfiguration s3:GetBucketTagging @self",
				// HeadBucket, which needs ListBucket, until the bucket is gone.
				delete: "s3:DeleteBucket s3:ListBucket @self;" +
					"given forceDestroy: s3:ListBucketVersions @self; given forceDestroy: s3:DeleteObject s3:DeleteObjectVersion @objects",
			},
		},
		"aws:s3/bucketVersioningV2:BucketVersioningV2": {
			name: "bucket", rows: settingRows(func(b *store.Bucket) *store.Record { return &b.Versioning }), refs: ofBucket,
			check: checkVersioning, apply: applyVersioning,
			permissions: ofSetting("s3:GetBucketVersioning", "s3:PutBucketVersioning", "s3:PutBucketVersioning"),
		},
		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": {
			name: "bucket", rows: settingRows(func(b *store.Bucket) *store.Record { return &b.Encryption }), refs: ofBucket,
			check:       checkEncryption,
			permissions: ofSetting("s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration", "s3:PutEncryptionConfiguration"),
		},
		// The provider asks for the following settings until they are gone.
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {
			name: "bucket", rows: settingRows(func(b *store.Bucket) *store.Record { return &b.PublicAccess }), refs: ofBucket,
			check: checkPublicAccess, apply: applyPublicAccess,
			permissions: ofSetting("s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock",
				"s3:PutBucketPublicAccessBlock s3:GetBucketPublicAccessBlock"),
		},
		"aws:s3/bucketOwnershipControls:BucketOwnershipControls": {
			name: "bucket", rows: settingRows(func(b *store.Bucket) *store.Record { return &b.Ownership }), refs: ofBucket,
			apply: applyOwnership,
			permissions: ofSetting("s3:GetBucketOwnershipControls", "s3:PutBucketOwnershipControls",
				"s3:PutBucketOwnershipControls s3:GetBucketOwnershipControls"),
		},
		"aws:s3/bucketPolicy:BucketPolicy": {
			name: "bucket", rows: settingRows(func(b *store.Bucket) *store.Record { return &b.Policy }), refs: ofBucket,
			check: checkBucketPolicy, apply: applyBucketPolicy,
			permissions: ofSetting("s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy s3:GetBucketPolicy"),
		},
		"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2": {
			name: "bucket", rows: settingRows(func(b *store.Bucket) *store.Record { return &b.Lifecycle }), refs: ofBucket,
			check: checkLifecycle,
			permissions: ofSetting("s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration",
				"s3:PutLifecycleConfiguration s3:GetLifecycleConfiguration"),
		},
	}
}

// ofSetting are the permissions of a resource that is a setting of a bucket.
func ofSetting(get, put, remove string) permissions {
	return permissions{create: put + " @bucket", read: get + " @bucket", update: put + " @bucket", delete: remove + " @bucket"}
}
