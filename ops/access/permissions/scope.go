package permissions

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings determine the policies.
type Settings struct {
	// Project is the name of the Pulumi project, and the tag Project of its resources.
	Project string
	// Account is the AWS account id.
	Account string
	Region  string
	// Stacks are the stacks that are deployed. Production is the one that previews and restore drills read.
	Stacks     []string
	Production string
	// StateBucket holds Pulumi's state.
	StateBucket string
	// Keys are the ARNs of the KMS keys of the stacks' secrets, by stack. A stack with a passphrase has none.
	Keys map[string]string
	// ZoneIDs are the ids of the Route 53 hosted zones of the stacks' names.
	ZoneIDs []string
	// Names are the stacks' DNS names, by stack: a deployment can change their records and those below them. A stack
	// without an entry can change all records in the zones.
	Names map[string][]string
}

// Scope is a set of resources, and the condition under which actions on them are allowed.
type Scope struct {
	// name is the Sid of the policy's statement.
	name      string
	resources func(Settings) []string
	condition func(Settings) Condition
}

// Condition maps operators to keys to values. One of the values must match.
type Condition map[string]map[string][]string

func equals(key string, values ...string) Condition {
	return Condition{"StringEquals": {key: values}}
}

// created is an EC2 resource of one kind that the request creates with the program's tags. The kind matters: EC2 also
// checks the VPC of a new subnet, which the request's tags would match.
func created(kind string) Scope {
	return Scope{
		name:      "New" + camel(kind),
		resources: func(s Settings) []string { return s.ec2(kind) },
		condition: func(s Settings) Condition { return s.tags("aws:RequestTag") },
	}
}

func camel(kind string) string {
	var name string
	for part := range strings.SplitSeq(kind, "-") {
		name += strings.ToUpper(part[:1]) + part[1:]
	}
	return name
}

// The scopes. Buckets, roles and profiles have the prefixes that newPrivateBucket and newInstanceProfile in components
// set.
var (
	inRegion = Scope{
		name:      "LookAtEC2",
		resources: func(Settings) []string { return []string{"*"} },
		condition: func(s Settings) Condition { return equals("aws:RequestedRegion", s.Region) },
	}
	// createdWithTags is any EC2 resource that the request creates with tags.
	createdWithTags = Scope{
		name:      "TagsOfNew",
		resources: func(s Settings) []string { return []string{s.anyEC2()} },
		condition: func(s Settings) Condition {
			condition := s.tags("aws:RequestTag")
			condition["StringEquals"]["ec2:CreateAction"] = []string{
				"AllocateAddress", "CreateInternetGateway", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet", "CreateVpc",
				"CreateVpcEndpoint", "RunInstances",
			}
			return condition
		},
	}
	// own is any EC2 resource with the program's tags. EC2 checks each resource of a request, so a request that
	// includes another project's resource is denied.
	own = Scope{
		name:      "Own",
		resources: func(s Settings) []string { return []string{s.anyEC2()} },
		condition: func(s Settings) Condition { return s.tags("aws:ResourceTag") },
	}
	// untagged are a server's image and those of its parts that have no tags.
	untagged = Scope{
		name: "Untagged",
		resources: func(s Settings) []string {
			// Images belong to other accounts.
			return append(s.ec2("network-interface", "volume"), fmt.Sprintf("arn:aws:ec2:%s::image/*", s.Region))
		},
	}
	// untaggedOrOwn is the association of an address, which no longer exists or has no tags. Resources with other
	// projects' tags do not match.
	untaggedOrOwn = Scope{
		name:      "UntaggedOrOwn",
		resources: func(s Settings) []string { return s.ec2("elastic-ip", "instance", "network-interface") },
		condition: func(s Settings) Condition {
			return Condition{"StringEqualsIfExists": s.tags("aws:ResourceTag")["StringEquals"]}
		},
	}

	serverRoles = Scope{name: "ServerRoles", resources: func(s Settings) []string { return s.servers("role") }}
	// boundedRoles are the servers' roles that have the stack's boundary, or get it in the request.
	boundedRoles = Scope{
		name:      "BoundedRoles",
		resources: serverRoles.resources,
		condition: func(s Settings) Condition { return equals(boundaryKey, s.boundaries()...) },
	}
	serverProfiles = Scope{name: "ServerProfiles",
		resources: func(s Settings) []string { return s.servers("instance-profile") }}
	// passedToServers are the servers' roles when they are passed to EC2.
	passedToServers = Scope{
		name:      "PassToServers",
		resources: serverRoles.resources,
		condition: func(Settings) Condition { return equals("iam:PassedToService", "ec2.amazonaws.com") },
	}

	zones = Scope{name: "Zones", resources: func(s Settings) []string {
		var zones []string
		for _, id := range s.ZoneIDs {
			zones = append(zones, "arn:aws:route53:::hostedzone/"+id)
		}
		return zones
	}}
	records = Scope{
		name:      "Records",
		resources: zones.resources,
		condition: func(s Settings) Condition {
			var patterns []string
			for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
				if len(s.Names[stack]) == 0 {
					return nil
				}
				for _, name := range s.Names[stack] {
					patterns = append(patterns, name, "*."+name)
				}
			}
			return Condition{"ForAllValues:StringLike": {"route53:ChangeResourceRecordSetsNormalizedRecordNames": patterns}}
		},
	}
	changes = Scope{name: "ZoneChanges", resources: func(s Settings) []string {
		if len(s.ZoneIDs) == 0 {
			return nil
		}
		return []string{"arn:aws:route53:::change/*"}
	}}

	buckets = Scope{name: "Buckets", resources: func(s Settings) []string {
		return append(s.buckets("backup", s.Stacks, ""), s.buckets("content", s.Stacks, "")...)
	}}
	contents = Scope{name: "Contents",
		resources: func(s Settings) []string { return s.buckets("content", s.Stacks, "") }}
	contentObjects = Scope{name: "ContentObjects",
		resources: func(s Settings) []string { return s.buckets("content", s.Stacks, "/*") }}
	// disposable are the buckets that a deployment can change, empty and delete: all but production's backup bucket,
	// which an administrator creates with the first update of production.
	disposable = Scope{name: "Disposable", resources: func(s Settings) []string {
		return append(s.buckets("backup", s.others(), ""), s.buckets("content", s.Stacks, "")...)
	}}
	disposableObjects = Scope{name: "DisposableObjects", resources: func(s Settings) []string {
		return append(s.buckets("backup", s.others(), "/*"), s.buckets("content", s.Stacks, "/*")...)
	}}
	backups = Scope{name: "BackupBuckets",
		resources: func(s Settings) []string { return s.buckets("backup", s.Stacks, "") }}
	backupObjects = Scope{name: "BackupObjects",
		resources: func(s Settings) []string { return s.buckets("backup", s.Stacks, "/*") }}
	productionBackups = Scope{name: "Backups",
		resources: func(s Settings) []string { return s.buckets("backup", []string{s.Production}, "") }}
	productionHistory = Scope{name: "History",
		resources: func(s Settings) []string { return s.buckets("backup", []string{s.Production}, "/history/*") }}

	state = Scope{name: "State", resources: func(s Settings) []string { return []string{"arn:aws:s3:::" + s.StateBucket} }}
	// stackStates are the objects that Pulumi reads first. Neither they nor stateRecords include the state of these
	// roles: a command planted there would run with the next administrator's permissions. Stack names contain no dot,
	// so the pattern matches no other stack.
	stackStates = Scope{name: "StackStates", resources: func(s Settings) []string {
		return append(s.stateObjects("stacks/%s/%s.*"), "arn:aws:s3:::"+s.StateBucket+"/.pulumi/meta.yaml")
	}}
	// stateRecords are the objects that an update writes, in the layout of Pulumi's DIY backends.
	stateRecords = Scope{name: "StateRecords", resources: func(s Settings) []string {
		return slices.Concat(s.stateObjects("stacks/%s/%s.*"), s.stateObjects("history/%s/%s/*"),
			s.stateObjects("backups/%s/%s/*"), stateLocks.resources(s))
	}}
	stateLocks = Scope{name: "StateLocks",
		resources: func(s Settings) []string { return s.stateObjects("locks/organization/%s/%s/*") }}

	productionKey = Scope{name: "Secrets", resources: func(s Settings) []string {
		if key := s.Keys[s.Production]; key != "" {
			return []string{key}
		}
		return nil
	}}
	everyKey = Scope{name: "Secrets", resources: func(s Settings) []string { return slices.Sorted(maps.Values(s.Keys)) }}
)

// anyEC2 returns the ARN pattern of all EC2 resources in the region.
func (s Settings) anyEC2() string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:*", s.Region, s.Account)
}

// ec2 returns the ARN patterns of kinds of EC2 resources.
func (s Settings) ec2(kinds ...string) []string {
	var arns []string
	for _, kind := range kinds {
		arns = append(arns, fmt.Sprintf("arn:aws:ec2:%s:%s:%s/*", s.Region, s.Account, kind))
	}
	return arns
}

// servers returns the ARN patterns of one kind of IAM resource of the stacks' servers. The workflows' roles are not
// below this path.
func (s Settings) servers(kind string) []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:iam::%s:%s/%s/%s/*", s.Account, kind, s.Project, stack))
	}
	return arns
}

// buckets returns the ARN patterns of the stacks' buckets for a purpose or, with a suffix, of objects in them.
func (s Settings) buckets(purpose string, stacks []string, suffix string) []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:s3:::%s-%s-*%s", stack, purpose, suffix))
	}
	return arns
}

// stateObjects returns the ARNs of objects in Pulumi's state. The format has verbs for the project and the stack.
func (s Settings) stateObjects(format string) []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:s3:::%s/.pulumi/"+format, s.StateBucket, s.Project, stack))
	}
	return arns
}

// Of returns the settings for a single stack.
func (s Settings) Of(stack string) Settings {
	s.Stacks = []string{stack}
	keys := map[string]string{}
	if key, ok := s.Keys[stack]; ok {
		keys[stack] = key
	}
	s.Keys = keys
	return s
}

// boundaryKey is IAM's condition key for the permissions boundary of the role in the request.
const boundaryKey = "iam:PermissionsBoundary"

// BoundaryName returns the name of the permissions boundary of a stack's servers.
func (s Settings) BoundaryName(stack string) string { return s.Project + "-server-" + stack }

// boundaries returns the ARNs of the stacks' boundaries.
func (s Settings) boundaries() []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:iam::%s:policy/%s", s.Account, s.BoundaryName(stack)))
	}
	return arns
}

// others returns the stacks other than production.
func (s Settings) others() []string {
	return slices.DeleteFunc(slices.Clone(s.Stacks), func(stack string) bool { return stack == s.Production })
}

// tags returns a condition that requires the program's tags; source is aws:RequestTag or aws:ResourceTag.
func (s Settings) tags(source string) Condition {
	return Condition{"StringEquals": {
		source + "/Project": {s.Project},
		source + "/Stack":   slices.Sorted(slices.Values(s.Stacks)),
	}}
}
