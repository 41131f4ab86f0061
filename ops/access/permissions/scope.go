package permissions

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings are what the policies are made for.
type Settings struct {
	// Project is the name of the program's project: the tag Project of what it makes.
	Project string
	// Account is the AWS account's id.
	Account string
	Region  string
	// Stacks are the names of the stacks that are deployed, and Production is the one of them
	// that previews and restore drills look at.
	Stacks     []string
	Production string
	// StateBucket holds Pulumi's state.
	StateBucket string
	// Keys are the ARNs of the KMS keys of the stacks' secrets, by stack. A stack whose secrets
	// have a passphrase has none.
	Keys map[string]string
	// ZoneIDs are the ids of the Route 53 hosted zones of the stacks' names.
	ZoneIDs []string
	// Names are the stacks' names in DNS, by stack: a deployment changes records of those names and of names below
	// them. A stack without an entry changes all records of the zones.
	Names map[string][]string
}

// Scope is a set of resources for which actions are allowed, and under which conditions.
type Scope struct {
	// name is the id of the statement that it becomes.
	name      string
	resources func(Settings) []string
	condition func(Settings) Condition
}

// Condition are operators, with what they compare: keys with values, of which one must be met.
type Condition map[string]map[string][]string

func equals(key string, values ...string) Condition {
	return Condition{"StringEquals": {key: values}}
}

// made is a resource of EC2 of one kind that is just being made: it must be given the program's tags.
// It is of one kind, because those tags are in the request also where EC2 asks for the VPC in
// which a subnet is made.
func made(kind string) Scope {
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

// The scopes. Names of buckets, roles and profiles begin as the program's components have them:
// see newPrivateBucket and newInstanceProfile there.
var (
	inRegion = Scope{
		name:      "LookAtEC2",
		resources: func(Settings) []string { return []string{"*"} },
		condition: func(s Settings) Condition { return equals("aws:RequestedRegion", s.Region) },
	}
	// beingMade is whatever is made with tags in the same request.
	beingMade = Scope{
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
	// own is whatever has the program's tags. EC2 asks for each resource that a request is about, so that an
	// action is allowed for what is our own together with nothing else.
	own = Scope{
		name:      "Own",
		resources: func(s Settings) []string { return []string{s.anyEC2()} },
		condition: func(s Settings) Condition { return s.tags("aws:ResourceTag") },
	}
	// untagged is what belongs to a server and has no tags of its own, and the image.
	untagged = Scope{
		name: "Untagged",
		resources: func(s Settings) []string {
			// Images are their makers', and so have no account of ours.
			return append(s.ec2("network-interface", "volume"), fmt.Sprintf("arn:aws:ec2:%s::image/*", s.Region))
		},
	}
	// untaggedOrOwn is an association of an address, which is gone or of something without tags; never what has the
	// tags of others.
	untaggedOrOwn = Scope{
		name:      "UntaggedOrOwn",
		resources: func(s Settings) []string { return s.ec2("elastic-ip", "instance", "network-interface") },
		condition: func(s Settings) Condition {
			return Condition{"StringEqualsIfExists": s.tags("aws:ResourceTag")["StringEquals"]}
		},
	}

	serverRoles = Scope{name: "ServerRoles", resources: func(s Settings) []string { return s.servers("role") }}
	// boundedRoles are the servers' roles that have the stack's permissions boundary, or are given it by the request.
	boundedRoles = Scope{
		name:      "BoundedRoles",
		resources: serverRoles.resources,
		condition: func(s Settings) Condition { return equals(boundaryKey, s.boundaries()...) },
	}
	serverProfiles = Scope{name: "ServerProfiles",
		resources: func(s Settings) []string { return s.servers("instance-profile") }}
	// passedToServers are the servers' roles, for servers and nothing else.
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
	// disposable are the buckets whose settings a deployment may change, and which it may empty and delete: never
	// production's backup bucket. An administrator makes that one, by the first update of production.
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
	// stackStates are what Pulumi reads of a stack before all else. Neither they nor stateRecords reach the state of the
	// roles: a command planted there would run as the next administrator. Stack names have no dot, so that the pattern
	// matches no other stack.
	stackStates = Scope{name: "StackStates", resources: func(s Settings) []string {
		return append(s.stateObjects("stacks/%s/%s.*"), "arn:aws:s3:::"+s.StateBucket+"/.pulumi/meta.yaml")
	}}
	// stateRecords are what an update writes: the layout of Pulumi's own backends with projects.
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

// anyEC2 is whatever there is of EC2's in the region.
func (s Settings) anyEC2() string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:*", s.Region, s.Account)
}

// ec2 are the ARNs of kinds of EC2's resources.
func (s Settings) ec2(kinds ...string) []string {
	var arns []string
	for _, kind := range kinds {
		arns = append(arns, fmt.Sprintf("arn:aws:ec2:%s:%s:%s/*", s.Region, s.Account, kind))
	}
	return arns
}

// servers are the ARNs of what IAM has for the servers of the stacks, all of one kind. Their path
// is nobody else's: the roles of workflows are not below it.
func (s Settings) servers(kind string) []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:iam::%s:%s/%s/%s/*", s.Account, kind, s.Project, stack))
	}
	return arns
}

// buckets are the ARNs of the stacks' buckets of a purpose, or of objects in them.
func (s Settings) buckets(purpose string, stacks []string, objects string) []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:s3:::%s-%s-*%s", stack, purpose, objects))
	}
	return arns
}

// stateObjects are the ARNs of objects of Pulumi's state. The format takes the project and the stack.
func (s Settings) stateObjects(format string) []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:s3:::%s/.pulumi/"+format, s.StateBucket, s.Project, stack))
	}
	return arns
}

// Of returns the settings for one stack alone.
func (s Settings) Of(stack string) Settings {
	s.Stacks = []string{stack}
	keys := map[string]string{}
	if key, ok := s.Keys[stack]; ok {
		keys[stack] = key
	}
	s.Keys = keys
	return s
}

// boundaryKey is IAM's condition key for the permissions boundary of the role that a request is about.
const boundaryKey = "iam:PermissionsBoundary"

// BoundaryName is the name of the managed policy that bounds what the servers of a stack may do.
func (s Settings) BoundaryName(stack string) string { return s.Project + "-server-" + stack }

// boundaries are the ARNs of the stacks' boundaries.
func (s Settings) boundaries() []string {
	var arns []string
	for _, stack := range slices.Sorted(slices.Values(s.Stacks)) {
		arns = append(arns, fmt.Sprintf("arn:aws:iam::%s:policy/%s", s.Account, s.BoundaryName(stack)))
	}
	return arns
}

// others are the stacks but production.
func (s Settings) others() []string {
	return slices.DeleteFunc(slices.Clone(s.Stacks), func(stack string) bool { return stack == s.Production })
}

// tags are the program's tags, in a request or on a resource.
func (s Settings) tags(where string) Condition {
	return Condition{"StringEquals": {
		where + "/Project": {s.Project},
		where + "/Stack":   slices.Sorted(slices.Values(s.Stacks)),
	}}
}
