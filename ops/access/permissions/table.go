// Package permissions holds the permissions of the roles of GitHub's workflows: a table of the API actions that
// each type of resource of the program needs, with the reason, and the policies that are derived from it. An
// action that is not in the table is not allowed.
package permissions

// Resource is a resource type of the program, or another caller of AWS.
type Resource struct {
	// Type is Pulumi's token, or the name of the caller.
	Type  string
	Calls []Call
}

// Call is an API action.
type Call struct {
	// Action is the name in a policy, such as "ec2:CreateVpc". S3's actions and operations differ in name.
	Action string
	// Roles are the roles that need the action.
	Roles []Role
	// On are the resources of the request. AWS checks each of them.
	On []Scope
	// Why is the reason for the call.
	Why string
}

// Role names a role.
type Role string

// The roles of workflows: one for previews, one for the deployment of each stack, one for restore drills.
const (
	Preview      Role = "preview"
	Deploy       Role = "deploy"
	RestoreDrill Role = "restore-drill"
)

// Server is the permissions boundary of the servers' roles of a stack: the most that they may do, whatever
// policies a deployment gives them.
const Server Role = "server"

// read is a call of refreshes, previews and updates.
func read(action, why string, on ...Scope) Call {
	return Call{Action: action, Roles: []Role{Preview, Deploy}, On: on, Why: why}
}

// update is a call that only updates make.
func update(action, why string, on ...Scope) Call {
	return Call{Action: action, Roles: []Role{Deploy}, On: on, Why: why}
}

// describe is a read of EC2, which cannot be restricted further than to a region.
func describe(action, why string) Call {
	return read(action, why, inRegion)
}

// tagged returns the calls for the tags of an EC2 resource.
func tagged() []Call {
	return []Call{
		update("ec2:CreateTags", "tags: with the resource, and when they change", beingMade, own),
		update("ec2:DeleteTags", "tags that are gone", own),
	}
}

func calls(calls []Call, further ...Call) []Call { return append(calls, further...) }

// Resources returns the program's resource types with the calls of version 6 of Pulumi's AWS provider, which
// contains version 5 of Terraform's. It leaves out calls for inputs that the program does not set.
func Resources() []Resource {
	return []Resource{
		{"aws:ec2/vpc:Vpc", calls(tagged(),
			describe("ec2:DescribeVpcs", "the VPC"),
			describe("ec2:DescribeVpcAttribute", "its DNS settings"),
			describe("ec2:DescribeNetworkAcls", "its default network ACL, an output"),
			describe("ec2:DescribeRouteTables", "its main route table, an output"),
			describe("ec2:DescribeSecurityGroups", "its default security group, an output"),
			update("ec2:CreateVpc", "create", made("vpc")),
			update("ec2:ModifyVpcAttribute", "create: DNS host names are off at first", own),
			update("ec2:DeleteVpc", "delete", own),
		)},
		{"aws:ec2/subnet:Subnet", calls(tagged(),
			describe("ec2:DescribeSubnets", "the subnet"),
			update("ec2:CreateSubnet", "create, in a VPC", made("subnet"), own),
			update("ec2:DescribeNetworkInterfaces", "delete: interfaces that services have left there", inRegion),
			update("ec2:DeleteSubnet", "delete", own),
		)},
		{"aws:ec2/internetGateway:InternetGateway", calls(tagged(),
			describe("ec2:DescribeInternetGateways", "the gateway"),
			update("ec2:CreateInternetGateway", "create", made("internet-gateway")),
			update("ec2:AttachInternetGateway", "create: to the VPC", own),
			update("ec2:DetachInternetGateway", "delete: from the VPC", own),
			update("ec2:DeleteInternetGateway", "delete", own),
		)},
		{"aws:ec2/routeTable:RouteTable", calls(tagged(),
			describe("ec2:DescribeRouteTables", "the table with its routes"),
			update("ec2:CreateRouteTable", "create, in a VPC", made("route-table"), own),
			update("ec2:CreateRoute", "create: each route", own),
			update("ec2:ReplaceRoute", "update: the gateway is another one", own),
			update("ec2:DeleteRoute", "update: a route that somebody has added", own),
			update("ec2:DisassociateRouteTable", "delete: what is associated still", own),
			update("ec2:DeleteRouteTable", "delete", own),
		)},
		{"aws:ec2/routeTableAssociation:RouteTableAssociation", []Call{
			describe("ec2:DescribeRouteTables", "the association is in its table"),
			update("ec2:AssociateRouteTable", "create", own),
			update("ec2:ReplaceRouteTableAssociation", "update: the table is another one", own),
			update("ec2:DisassociateRouteTable", "delete", own),
		}},
		{"aws:ec2/vpcEndpoint:VpcEndpoint", calls(tagged(),
			describe("ec2:DescribeVpcEndpoints", "the endpoint"),
			describe("ec2:DescribePrefixLists", "S3's addresses, an output"),
			update("ec2:CreateVpcEndpoint", "create, in a VPC, for a route table", made("vpc-endpoint"), own),
			update("ec2:ModifyVpcEndpoint", "update: the route table is another one", own),
			update("ec2:DeleteVpcEndpoints", "delete", own),
		)},
		{"aws:ec2/securityGroup:SecurityGroup", calls(tagged(),
			describe("ec2:DescribeSecurityGroups", "the group with its rules"),
			update("ec2:CreateSecurityGroup", "create, in a VPC", made("security-group"), own),
			update("ec2:RevokeSecurityGroupEgress", "create: at first, all may go out", own),
			update("ec2:AuthorizeSecurityGroupIngress", "create: its rules; a group whose rules change is replaced", own),
			update("ec2:AuthorizeSecurityGroupEgress", "create: its rules", own),
			update("ec2:DescribeNetworkInterfaces", "delete: interfaces that services have left there", inRegion),
			update("ec2:DeleteSecurityGroup", "delete", own),
		)},
		{"aws:ec2/eip:Eip", calls(tagged(),
			describe("ec2:DescribeAddresses", "the address"),
			describe("ec2:DescribeAddressesAttribute", "its name in the reverse DNS, an output"),
			update("ec2:AllocateAddress", "create", made("elastic-ip")),
			update("ec2:DisassociateAddress", "delete: from the server, if it is at one", untaggedOrOwn),
			update("ec2:ReleaseAddress", "delete", own),
		)},
		{"aws:ec2/eipAssociation:EipAssociation", []Call{
			describe("ec2:DescribeAddresses", "the association is in its address"),
			update("ec2:AssociateAddress", "create: the VIP moves; the server's interface has no tags", own, untagged),
			update("ec2:DisassociateAddress",
				"delete: the old association ended when the VIP moved. EC2 says so only to those who may do it without "+
					"a look at tags, which what is not there has none of", untaggedOrOwn),
		}},
		{"aws:ec2/instance:Instance", calls(tagged(),
			describe("ec2:DescribeInstances", "the server"),
			describe("ec2:DescribeInstanceAttribute", "user data, shutdown behaviour, protections"),
			describe("ec2:DescribeInstanceCreditSpecifications", "its CPU credits"),
			describe("ec2:DescribeInstanceTypes",
				"whether its type has CPU credits; in a preview, the architecture of a new type"),
			describe("ec2:DescribeTags", "whether a launch template made it"),
			describe("ec2:DescribeVolumes", "its root volume"),
			describe("ec2:DescribeVpcs", "whether its VPC is the default one"),
			update("ec2:DescribeImages", "create: the name of the image's root device", inRegion),
			update("ec2:RunInstances", "create, in a subnet, with a security group", made("instance"), own, untagged),
			update("iam:PassRole", "create: with an instance profile", passedToServers),
			update("ec2:ModifyInstanceAttribute", "create: shutdown behaviour; delete: whatever protects it from its deletion",
				own),
			update("ec2:TerminateInstances", "delete", own),
		)},
		{"aws:iam/role:Role", []Call{
			read("iam:GetRole", "the role with its tags", serverRoles),
			read("iam:ListRolePolicies", "its policies", serverRoles),
			read("iam:GetRolePolicy", "its policies", serverRoles),
			read("iam:ListAttachedRolePolicies", "managed policies: it has none", serverRoles),
			update("iam:CreateRole", "create, with the boundary", boundedRoles),
			update("iam:PutRolePermissionsBoundary", "update: a role that was made before there was a boundary gets it",
				boundedRoles),
			update("iam:TagRole", "tags: with the role, and when they change", serverRoles),
			update("iam:UntagRole", "tags that are gone", serverRoles),
			update("iam:ListInstanceProfilesForRole", "delete: profiles that it is in still", serverRoles),
			update("iam:RemoveRoleFromInstanceProfile", "delete: profiles that it is in still", serverProfiles),
			update("iam:DeleteRolePolicy", "delete: policies that it has still", serverRoles),
			update("iam:DeleteRole", "delete", serverRoles),
		}},
		{"aws:iam/rolePolicy:RolePolicy", []Call{
			read("iam:GetRolePolicy", "the policy", serverRoles),
			update("iam:PutRolePolicy", "create, update", boundedRoles),
			update("iam:DeleteRolePolicy", "delete", serverRoles),
		}},
		{"aws:iam/instanceProfile:InstanceProfile", []Call{
			read("iam:GetInstanceProfile", "the profile with its tags", serverProfiles),
			read("iam:GetRole", "whether its role is there", serverRoles),
			update("iam:CreateInstanceProfile", "create", serverProfiles),
			update("iam:AddRoleToInstanceProfile", "create, update: its role", serverProfiles),
			update("iam:PassRole", "create, update: its role", passedToServers),
			update("iam:RemoveRoleFromInstanceProfile", "update: its role; delete; a role that is gone", serverProfiles),
			update("iam:TagInstanceProfile", "tags: with the profile, and when they change", serverProfiles),
			update("iam:UntagInstanceProfile", "tags that are gone", serverProfiles),
			update("iam:DeleteInstanceProfile", "delete", serverProfiles),
		}},
		{"aws:route53/record:Record", []Call{
			read("route53:GetHostedZone", "the zone's name, a part of the record's", zones),
			read("route53:ListResourceRecordSets", "the record", zones),
			update("route53:ChangeResourceRecordSets", "create, update, delete", records),
			update("route53:GetChange", "create, update, delete: whether it has come to all of Route 53's servers", changes),
		}},
		{"aws:s3/bucketV2:BucketV2", []Call{
			read("s3:ListBucket", "HeadBucket: whether it is there, and its region", buckets),
			// The provider still reads what was once a part of the bucket's resource.
			read("s3:GetAccelerateConfiguration", "an output", buckets),
			read("s3:GetBucketAcl", "an output", buckets),
			read("s3:GetBucketCORS", "an output", buckets),
			read("s3:GetBucketLogging", "an output", buckets),
			read("s3:GetBucketObjectLockConfiguration", "an output", buckets),
			read("s3:GetBucketPolicy", "an output", buckets),
			read("s3:GetBucketRequestPayment", "an output", buckets),
			read("s3:GetBucketTagging", "tags", buckets),
			read("s3:GetBucketVersioning", "an output", buckets),
			read("s3:GetBucketWebsite", "an output", buckets),
			read("s3:GetEncryptionConfiguration", "an output", buckets),
			read("s3:GetLifecycleConfiguration", "an output", buckets),
			read("s3:GetReplicationConfiguration", "an output", buckets),
			update("s3:CreateBucket", "create", buckets),
			update("s3:PutBucketTagging", "tags", buckets),
			update("s3:ListBucketVersions", "delete: what is in it", disposable),
			update("s3:DeleteObject", "delete: what is in it", disposableObjects),
			update("s3:DeleteObjectVersion", "delete: what is in it", disposableObjects),
			update("s3:DeleteBucket", "delete", disposable),
		}},
		{"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2", []Call{
			read("s3:GetLifecycleConfiguration", "the rules", buckets),
			update("s3:PutLifecycleConfiguration", "create, update, delete", disposable),
		}},
		{"aws:s3/bucketOwnershipControls:BucketOwnershipControls", []Call{
			read("s3:GetBucketOwnershipControls", "the setting", buckets),
			update("s3:PutBucketOwnershipControls", "create, update, delete", disposable),
		}},
		{"aws:s3/bucketPolicy:BucketPolicy", []Call{
			read("s3:GetBucketPolicy", "the policy", buckets),
			update("s3:PutBucketPolicy", "create, update", disposable),
			update("s3:DeleteBucketPolicy", "delete", disposable),
		}},
		{"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", []Call{
			read("s3:GetBucketPublicAccessBlock", "the setting", buckets),
			update("s3:PutBucketPublicAccessBlock", "create, update, delete", disposable),
		}},
		{"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2", []Call{
			read("s3:GetEncryptionConfiguration", "the setting", buckets),
			update("s3:PutEncryptionConfiguration", "create, update, delete", disposable),
		}},
		{"aws:s3/bucketVersioningV2:BucketVersioningV2", []Call{
			read("s3:GetBucketVersioning", "the setting", buckets),
			update("s3:PutBucketVersioning", "create, update, delete", disposable),
		}},
		{"command:local:Command", []Call{
			update("s3:ListBucket", "sync: what the site's bucket has", contents),
			update("s3:PutObject", "sync: files that changed", contentObjects),
			update("s3:DeleteObject", "sync: files that are gone", contentObjects),
		}},
		{"command:remote:Command", nil},      // over SSH
		{"command:remote:CopyToRemote", nil}, // over SSH
		{"tls:index/privateKey:PrivateKey", nil},
	}
}

// Others returns the calls that belong to no resource type.
func Others() []Resource {
	everybody := []Role{Preview, Deploy, RestoreDrill}
	lookers := []Role{Preview, RestoreDrill}
	servers := []Role{Server}
	return []Resource{
		{"Pulumi's state", []Call{
			{"s3:ListBucket", everybody, []Scope{state}, "the stacks, and locks"},
			{"s3:GetObject", everybody, []Scope{stackStates}, "the stack"},
			{"s3:GetObject", []Role{Deploy}, []Scope{stateRecords}, "locks, and the update before"},
			{"s3:PutObject", []Role{Deploy}, []Scope{stateRecords}, "the stack, its history, a backup, a lock"},
			{"s3:DeleteObject", []Role{Deploy}, []Scope{stateLocks}, "the lock"},
		}},
		// Updates encrypt with the data key in the stack's file. Only make bootstrap creates one.
		{"the stacks' secrets", []Call{
			{"kms:Decrypt", lookers, []Scope{productionKey}, "the data key of production's secrets"},
			{"kms:Decrypt", []Role{Deploy}, []Scope{everyKey}, "the data key of a stack's secrets"},
		}},
		{"the choice of the subnet's zone", []Call{
			describe("ec2:DescribeInstanceTypeOfferings", "zones that offer the instance type"),
		}},
		// aws:ec2/securityGroupRule:SecurityGroupRule, which exists during an update from a runner.
		{"sshFromRunner", []Call{
			describe("ec2:DescribeSecurityGroups", "the group of the rule"),
			describe("ec2:DescribeSecurityGroupRules", "the rule that a killed update has left"),
			update("ec2:AuthorizeSecurityGroupIngress", "let the machine that deploys in", own),
			update("ec2:RevokeSecurityGroupIngress", "shut it out", own),
		}},
		{"make rebuild", []Call{
			{"ec2:DescribeImages", []Role{Preview}, []Scope{inRegion}, "the newest Debian"},
		}},
		// The same as serverPermissions in components/webserver.go; a test there compares the two.
		{"the servers", []Call{
			{"s3:ListBucket", servers, []Scope{contents, backups}, "that an object is missing, and not denied"},
			{"s3:GetObject", servers, []Scope{contentObjects, backupObjects}, "the site; a restore"},
			{"s3:PutObject", servers, []Scope{backupObjects}, "backups"},
			{"s3:DeleteObject", servers, []Scope{backupObjects}, "backups: what has expired. Versions stay"},
		}},
		{"make restore-drill", []Call{
			{"s3:ListBucket", []Role{RestoreDrill}, []Scope{productionBackups}, "the backups"},
			{"s3:GetObject", []Role{RestoreDrill}, []Scope{productionHistory},
				"the newest backup; not the certificates' private keys beside it"},
		}},
	}
}
