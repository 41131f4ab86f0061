// Package permissions holds the permissions of the roles of GitHub's workflows: a table of the API actions that each of
// the program's resource types needs, with the reason, and the policies derived from it. An action that is not in the
// table is not allowed.
package permissions

// Resource is one of the program's resource types, or another caller of AWS.
type Resource struct {
	// Type is Pulumi's type token, or the name of the caller.
	Type  string
	Calls []Call
}

// Call is an API action.
type Call struct {
	// Action is the name used in policies, such as "ec2:CreateVpc". S3's actions and operations have different names.
	Action string
	// Roles are the roles that need the action.
	Roles []Role
	// On lists the resources in the request. AWS checks each of them.
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

// Server is the permissions boundary of the roles of a stack's servers: their maximum permissions, whatever policies a
// deployment attaches.
const Server Role = "server"

// read is a call that refreshes, previews and updates make.
func read(action, why string, on ...Scope) Call {
	return Call{Action: action, Roles: []Role{Preview, Deploy}, On: on, Why: why}
}

// update is a call that only updates make.
func update(action, why string, on ...Scope) Call {
	return Call{Action: action, Roles: []Role{Deploy}, On: on, Why: why}
}

// describe is a read of EC2, which can be restricted to a region but no further.
func describe(action, why string) Call {
	return read(action, why, inRegion)
}

// tagged returns the calls for the tags of an EC2 resource.
func tagged() []Call {
	return []Call{
		update("ec2:CreateTags", "tags: with the resource, and when they change", createdWithTags, own),
		update("ec2:DeleteTags", "removed tags", own),
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
			update("ec2:CreateVpc", "create", created("vpc")),
			update("ec2:ModifyVpcAttribute", "create: DNS host names are off at first", own),
			update("ec2:DeleteVpc", "delete", own),
		)},
		{"aws:ec2/subnet:Subnet", calls(tagged(),
			describe("ec2:DescribeSubnets", "the subnet"),
			update("ec2:CreateSubnet", "create, in a VPC", created("subnet"), own),
			update("ec2:DescribeNetworkInterfaces", "delete: interfaces that services left behind", inRegion),
			update("ec2:DeleteSubnet", "delete", own),
		)},
		{"aws:ec2/internetGateway:InternetGateway", calls(tagged(),
			describe("ec2:DescribeInternetGateways", "the gateway"),
			update("ec2:CreateInternetGateway", "create", created("internet-gateway")),
			update("ec2:AttachInternetGateway", "create: to the VPC", own),
			update("ec2:DetachInternetGateway", "delete: from the VPC", own),
			update("ec2:DeleteInternetGateway", "delete", own),
		)},
		{"aws:ec2/routeTable:RouteTable", calls(tagged(),
			describe("ec2:DescribeRouteTables", "the table with its routes"),
			update("ec2:CreateRouteTable", "create, in a VPC", created("route-table"), own),
			update("ec2:CreateRoute", "create: each route", own),
			update("ec2:ReplaceRoute", "update: another gateway", own),
			update("ec2:DeleteRoute", "update: a route that was added by hand", own),
			update("ec2:DisassociateRouteTable", "delete: remaining associations", own),
			update("ec2:DeleteRouteTable", "delete", own),
		)},
		{"aws:ec2/routeTableAssociation:RouteTableAssociation", []Call{
			describe("ec2:DescribeRouteTables", "the association, which its table lists"),
			update("ec2:AssociateRouteTable", "create", own),
			update("ec2:ReplaceRouteTableAssociation", "update: another table", own),
			update("ec2:DisassociateRouteTable", "delete", own),
		}},
		{"aws:ec2/vpcEndpoint:VpcEndpoint", calls(tagged(),
			describe("ec2:DescribeVpcEndpoints", "the endpoint"),
			describe("ec2:DescribePrefixLists", "S3's addresses, an output"),
			update("ec2:CreateVpcEndpoint", "create, in a VPC, for a route table", created("vpc-endpoint"), own),
			update("ec2:ModifyVpcEndpoint", "update: another route table", own),
			update("ec2:DeleteVpcEndpoints", "delete", own),
		)},
		{"aws:ec2/securityGroup:SecurityGroup", calls(tagged(),
			describe("ec2:DescribeSecurityGroups", "the group with its rules"),
			update("ec2:CreateSecurityGroup", "create, in a VPC", created("security-group"), own),
			update("ec2:RevokeSecurityGroupEgress", "create: the default rule, which allows all outgoing traffic", own),
			update("ec2:AuthorizeSecurityGroupIngress", "create: its rules; a group whose rules change is replaced", own),
			update("ec2:AuthorizeSecurityGroupEgress", "create: its rules", own),
			update("ec2:DescribeNetworkInterfaces", "delete: interfaces that services left behind", inRegion),
			update("ec2:DeleteSecurityGroup", "delete", own),
		)},
		{"aws:ec2/eip:Eip", calls(tagged(),
			describe("ec2:DescribeAddresses", "the address"),
			describe("ec2:DescribeAddressesAttribute", "its reverse DNS name, an output"),
			update("ec2:AllocateAddress", "create", created("elastic-ip")),
			update("ec2:DisassociateAddress", "delete: from its server, if any", untaggedOrOwn),
			update("ec2:ReleaseAddress", "delete", own),
		)},
		{"aws:ec2/eipAssociation:EipAssociation", []Call{
			describe("ec2:DescribeAddresses", "the association, which its address lists"),
			update("ec2:AssociateAddress", "create: the VIP moves; the server's interface has no tags", own, untagged),
			update("ec2:DisassociateAddress",
				"delete: the old association ended when the VIP moved. EC2 reports that only to callers with permission that "+
					"does not depend on tags, since a missing association has none", untaggedOrOwn),
		}},
		{"aws:ec2/instance:Instance", calls(tagged(),
			describe("ec2:DescribeInstances", "the server"),
			describe("ec2:DescribeInstanceAttribute", "user data, shutdown behavior, protections"),
			describe("ec2:DescribeInstanceCreditSpecifications", "its CPU credits"),
			describe("ec2:DescribeInstanceTypes",
				"whether its type has CPU credits; in a preview, the architecture of a new type"),
			describe("ec2:DescribeTags", "whether a launch template created it"),
			describe("ec2:DescribeVolumes", "its root volume"),
			describe("ec2:DescribeVpcs", "whether its VPC is the default VPC"),
			update("ec2:DescribeImages", "create: the name of the image's root device", inRegion),
			update("ec2:RunInstances", "create, in a subnet, with a security group", created("instance"), own, untagged),
			update("iam:PassRole", "create: with an instance profile", passedToServers),
			update("ec2:ModifyInstanceAttribute", "create: shutdown behavior; delete: its deletion protection",
				own),
			update("ec2:TerminateInstances", "delete", own),
		)},
		{"aws:iam/role:Role", []Call{
			read("iam:GetRole", "the role with its tags", serverRoles),
			read("iam:ListRolePolicies", "its policies", serverRoles),
			read("iam:GetRolePolicy", "its policies", serverRoles),
			read("iam:ListAttachedRolePolicies", "managed policies, of which it has none", serverRoles),
			update("iam:CreateRole", "create, with the boundary", boundedRoles),
			update("iam:PutRolePermissionsBoundary", "update: a role that predates the boundary gets it",
				boundedRoles),
			update("iam:TagRole", "tags: with the role, and when they change", serverRoles),
			update("iam:UntagRole", "removed tags", serverRoles),
			update("iam:ListInstanceProfilesForRole", "delete: profiles that still contain it", serverRoles),
			update("iam:RemoveRoleFromInstanceProfile", "delete: profiles that still contain it", serverProfiles),
			update("iam:DeleteRolePolicy", "delete: remaining policies", serverRoles),
			update("iam:DeleteRole", "delete", serverRoles),
		}},
		{"aws:iam/rolePolicy:RolePolicy", []Call{
			read("iam:GetRolePolicy", "the policy", serverRoles),
			update("iam:PutRolePolicy", "create, update", boundedRoles),
			update("iam:DeleteRolePolicy", "delete", serverRoles),
		}},
		{"aws:iam/instanceProfile:InstanceProfile", []Call{
			read("iam:GetInstanceProfile", "the profile with its tags", serverProfiles),
			read("iam:GetRole", "whether its role exists", serverRoles),
			update("iam:CreateInstanceProfile", "create", serverProfiles),
			update("iam:AddRoleToInstanceProfile", "create, update: its role", serverProfiles),
			update("iam:PassRole", "create, update: its role", passedToServers),
			update("iam:RemoveRoleFromInstanceProfile", "update: its role; delete; a deleted role", serverProfiles),
			update("iam:TagInstanceProfile", "tags: with the profile, and when they change", serverProfiles),
			update("iam:UntagInstanceProfile", "removed tags", serverProfiles),
			update("iam:DeleteInstanceProfile", "delete", serverProfiles),
		}},
		{"aws:route53/record:Record", []Call{
			read("route53:GetHostedZone", "the zone's name, which is part of the record's name", zones),
			read("route53:ListResourceRecordSets", "the record", zones),
			update("route53:ChangeResourceRecordSets", "create, update, delete", records),
			update("route53:GetChange", "create, update, delete: whether all of Route 53's servers have the change", changes),
		}},
		{"aws:s3/bucketV2:BucketV2", []Call{
			read("s3:ListBucket", "HeadBucket: whether it exists, and its region", buckets),
			// The provider still reads settings that used to be part of the bucket resource.
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
			update("s3:ListBucketVersions", "delete: its content", disposable),
			update("s3:DeleteObject", "delete: its content", disposableObjects),
			update("s3:DeleteObjectVersion", "delete: its content", disposableObjects),
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
			update("s3:ListBucket", "sync: the objects in the site's bucket", contents),
			update("s3:PutObject", "sync: changed files", contentObjects),
			update("s3:DeleteObject", "sync: removed files", contentObjects),
		}},
		{"command:remote:Command", nil},      // over SSH
		{"command:remote:CopyToRemote", nil}, // over SSH
		{"tls:index/privateKey:PrivateKey", nil},
	}
}

// Others returns the calls that do not belong to a resource type.
func Others() []Resource {
	workflows := []Role{Preview, Deploy, RestoreDrill}
	readers := []Role{Preview, RestoreDrill}
	servers := []Role{Server}
	return []Resource{
		{"Pulumi's state", []Call{
			{"s3:ListBucket", workflows, []Scope{state}, "the stacks, and locks"},
			{"s3:GetObject", workflows, []Scope{stackStates}, "the stack"},
			{"s3:GetObject", []Role{Deploy}, []Scope{stateRecords}, "locks, and the previous update"},
			{"s3:PutObject", []Role{Deploy}, []Scope{stateRecords}, "the stack, its history, a backup, a lock"},
			{"s3:DeleteObject", []Role{Deploy}, []Scope{stateLocks}, "the lock"},
		}},
		// Updates encrypt with the data key in the stack's file. Only make bootstrap creates one.
		{"the stacks' secrets", []Call{
			{"kms:Decrypt", readers, []Scope{productionKey}, "the data key of production's secrets"},
			{"kms:Decrypt", []Role{Deploy}, []Scope{everyKey}, "the data key of a stack's secrets"},
		}},
		{"the choice of the subnet's zone", []Call{
			describe("ec2:DescribeInstanceTypeOfferings", "zones that offer the instance type"),
		}},
		// The resource aws:ec2/securityGroupRule:SecurityGroupRule exists only during an update from a runner.
		{"sshFromRunner", []Call{
			describe("ec2:DescribeSecurityGroups", "the group of the rule"),
			describe("ec2:DescribeSecurityGroupRules", "the rule that a killed update left behind"),
			update("ec2:AuthorizeSecurityGroupIngress", "admit the deploying machine", own),
			update("ec2:RevokeSecurityGroupIngress", "remove it again", own),
		}},
		{"make rebuild", []Call{
			{"ec2:DescribeImages", []Role{Preview}, []Scope{inRegion}, "the newest Debian image"},
		}},
		// The same permissions as serverPermissions in components/webserver.go; a test there compares the two.
		{"the servers", []Call{
			{"s3:ListBucket", servers, []Scope{contents, backups}, "a 404 instead of a 403 for missing objects"},
			{"s3:GetObject", servers, []Scope{contentObjects, backupObjects}, "the site; a restore"},
			{"s3:PutObject", servers, []Scope{backupObjects}, "backups"},
			{"s3:DeleteObject", servers, []Scope{backupObjects}, "expired backups; their versions are kept"},
		}},
		{"make restore-drill", []Call{
			{"s3:ListBucket", []Role{RestoreDrill}, []Scope{productionBackups}, "the backups"},
			{"s3:GetObject", []Role{RestoreDrill}, []Scope{productionHistory},
				"the newest backup, but not the certificates' private keys"},
		}},
	}
}
