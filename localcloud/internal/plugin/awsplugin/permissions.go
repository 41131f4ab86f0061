package awsplugin

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// credentialSource returns the credentials that the plugin was called with, and those of the administrator.
type credentialSource func() (given, root store.Account, err error)

// identify returns the caller, or the error that AWS returns for invalid credentials.
func (pl *plugin) identify(state *store.State) (caller.Caller, error) {
	const hint = "to use the local cloud's credentials, run: eval \"$(make -s env)\""
	given, root, err := pl.credentials()
	if err != nil {
		return caller.Caller{}, err
	}
	if given.AccessKeyID == "" {
		return caller.Caller{}, apiError("MissingAuthenticationToken", "AWS_ACCESS_KEY_ID is not set; %s", hint)
	}
	found, err := caller.Find(state, root, given.AccessKeyID)
	switch {
	case err != nil:
		return caller.Caller{}, err
	case found == nil:
		return caller.Caller{}, apiError("InvalidClientTokenId", "The security token included in the request is invalid: "+
			"localcloud has no access key %s (from AWS_ACCESS_KEY_ID); %s", given.AccessKeyID, hint)
	case found.SecretAccessKey != given.SecretAccessKey:
		return caller.Caller{}, apiError("SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you "+
				"provided: AWS_SECRET_ACCESS_KEY does not belong to %s; %s", given.AccessKeyID, hint)
	}
	return *found, nil
}

// call is a request to an AWS API.
type call struct {
	action string // such as ec2:RunInstances
	target target
}

// target is the resource of a request, with the condition keys that depend on it.
type target struct {
	arn  string
	keys map[string]string
}

// with returns the target with additional condition keys.
func (t target) with(more ...map[string]string) target {
	keys := map[string]string{}
	for _, m := range append([]map[string]string{t.keys}, more...) {
		maps.Copy(keys, m)
	}
	return target{t.arn, keys}
}

// authorize returns an error if the caller lacks permission for any of an operation's requests. The error is AWS's
// for the first such request, followed by a list of the other missing permissions.
func (op *operation) authorize(calls []call) error {
	denied := map[string]bool{}
	code, first := "", ""
	for _, c := range calls {
		service, _, _ := strings.Cut(c.action, ":")
		keys := map[string]string{"aws:securetransport": "true", "aws:requestedregion": op.region}
		if service == "iam" || service == "route53" {
			keys["aws:requestedregion"] = "us-east-1" // the region of global services
		}
		maps.Copy(keys, c.target.keys)
		path, _ := strings.CutPrefix(c.target.arn, "arn:aws:s3:::")
		bucket, _, _ := strings.Cut(path, "/")
		own, err := op.bucketPolicy(bucket)
		if err != nil {
			return err
		}
		refusal := op.caller.Refusal(policy.Request{Action: c.action, Resource: c.target.arn, Keys: keys}, own)
		switch {
		case refusal == "":
		case first == "":
			code, first = "AccessDenied", refusal
			if service == "ec2" {
				code, first = "UnauthorizedOperation", "You are not authorized to perform this operation. "+refusal
			}
		default:
			denied[c.action+" on "+c.target.arn] = true
		}
	}
	if first == "" {
		return nil
	}
	if len(denied) > 0 {
		first += ". Other missing permissions: " + strings.Join(slices.Sorted(maps.Keys(denied)), ", ")
	}
	return apiError(code, "%s", first)
}

// accessQuery describes an operation on a resource, to find the permissions that it needs.
type accessQuery struct {
	*operation
	kind        *kind
	id          string // empty before the resource is created
	inputs, old store.Record
}

// self returns the resource of the operation. In a create, it has the id (or *) and the tags that it will have
// once it exists.
func (q accessQuery) self() target {
	if q.id != "" {
		return q.of(q.kind.Token, q.id)
	}
	name := "*"
	if auto := q.kind.Autoname; auto != nil && q.kind.IDPrefix == "" {
		name = cmp.Or(q.text(auto.Property), q.text(auto.PrefixProperty)+"*")
	} else if q.kind.NameProperty != "" {
		name = q.text(q.kind.NameProperty)
	}
	arn := q.kind.arnOf(q.region, q.text("path"), name)
	return target{arn: arn}.with(resourceTags(q.inputs.Tags("tags")), boundedBy(q.text("permissionsBoundary")))
}

// of returns a resource of a type, with its tags.
func (q accessQuery) of(token, id string) target {
	k, r := q.plugin.kinds[token], q.record(token, id)
	arn := cmp.Or(r.Text("arn"), k.arnOf(q.region, "/", id))
	if r == nil && k.IDIsARN {
		arn = id
	}
	return target{arn: arn}.with(resourceTags(r.Tags("tags")), boundedBy(r.Text("permissionsBoundary")))
}

// boundedBy returns the condition key of a role's permissions boundary.
func boundedBy(boundary string) map[string]string {
	if boundary == "" {
		return nil
	}
	return map[string]string{"iam:permissionsboundary": boundary}
}

// requestTags returns the condition keys of a request that sets tags.
func requestTags(tags map[string]string) map[string]string { return tagKeys("aws:requesttag/", tags) }

// resourceTags returns the condition keys of a request for a resource with tags.
func resourceTags(tags map[string]string) map[string]string { return tagKeys("aws:resourcetag/", tags) }

func tagKeys(prefix string, tags map[string]string) map[string]string {
	keys := map[string]string{}
	for name, value := range tags {
		keys[prefix+strings.ToLower(name)] = value
	}
	return keys
}

// texts returns the strings of a property from the inputs, or else from the old inputs (in a delete), or else from
// the stored resource.
func (q accessQuery) texts(path string) []string {
	for _, r := range []store.Record{q.inputs, q.old, q.stored()} {
		if r.At(path) != nil {
			return r.Texts(path)
		}
	}
	return nil
}

func (q accessQuery) text(path string) string { return strings.Join(q.texts(path), " ") }

// stored returns the record of the resource, or nil.
func (q accessQuery) stored() store.Record {
	if q.kind == nil || q.id == "" {
		return nil
	}
	return q.record(q.kind.Token, q.id)
}

// given reports whether an input is set and neither empty nor false.
func (q accessQuery) given(path string) bool {
	if len(q.inputs) == 0 {
		return q.old.Has(path)
	}
	return q.inputs.Has(path)
}

func (q accessQuery) changed(path string) bool {
	return !reflect.DeepEqual(q.inputs.At(path), q.old.At(path))
}

// calls returns the AWS API requests that terraform-provider-aws 5.100, which pulumi-aws 6.83 bridges, sends for
// an operation (phase) on a resource: create, read, update or delete. After a create or update, the provider also
// reads the resource, and in an update it sets changed tags; schema.json does not repeat these requests. It omits
// requests that the provider sends only in situations that do not occur in localcloud.
//
// For each phase, schema.json has a list of clauses. A clause consists of optional conditions that end with a
// colon, followed by actions and the targets of each action, or by the name of a special request. "given P" holds
// if the input P is set and not empty, "changed P" if an update changes it, "has P" if the resource has it.
// Actions without a target do not apply to a specific resource. Targets are
//
//	@self      the resource
//	@new       the resource that the request creates, with its tags
//	@P         the resource that the property P refers to
//
// and those of accessQuery.target. A test compares the table with a recording of the provider. The actions and
// resources of each request are those of AWS's Service Authorization Reference.
func (k *kind) calls(phase string, q accessQuery) []call {
	q.kind = k
	calls := q.clauses(k.Calls[phase]...)
	if phase == "update" {
		calls = append(q.tagUpdates(), calls...)
	}
	if phase == "create" || phase == "update" {
		calls = append(calls, q.clauses(k.Calls["read"]...)...)
	}
	return calls
}

func (q accessQuery) clauses(clauses ...string) []call {
	var calls []call
	for _, clause := range clauses {
		conditions, body, conditional := strings.Cut(clause, ": ")
		if !conditional {
			conditions, body = "", clause
		}
		if q.hold(strings.Fields(conditions)) {
			calls = append(calls, q.clause(strings.Fields(body))...)
		}
	}
	return calls
}

func (q accessQuery) hold(conditions []string) bool {
	for condition := range slices.Chunk(conditions, 2) {
		switch word, property := condition[0], condition[1]; {
		case word == "given" && !q.given(property), word == "changed" && !q.changed(property),
			word == "has" && !q.stored().Has(property):
			return false
		}
	}
	return true
}

func (q accessQuery) clause(words []string) []call {
	var actions, names []string
	var calls []call
	for _, word := range words {
		name, isTarget := strings.CutPrefix(word, "@")
		switch {
		case isTarget:
			names = append(names, name)
		case strings.Contains(word, ":"):
			actions = append(actions, word)
		default:
			more, _ := q.special(word)
			calls = append(calls, more...)
		}
	}
	targets := []target{{arn: "*"}}
	if len(names) > 0 {
		targets = nil
	}
	for _, name := range names {
		targets = append(targets, q.target(name)...)
	}
	for _, action := range actions {
		for _, t := range targets {
			calls = append(calls, call{action, t})
		}
		if slices.Contains(names, "new") && q.given("tags") {
			calls = append(calls, q.tagOnCreate(action))
		}
	}
	return calls
}

// target returns the resources of a target in schema.json, with their tags.
func (q accessQuery) target(name string) []target {
	switch name {
	case "self":
		return []target{q.self()}
	case "new":
		t := target{arn: q.self().arn}
		return []target{t.with(boundedBy(q.text("permissionsBoundary")), requestTags(q.inputs.Tags("tags")))}
	case "objects":
		return []target{{arn: q.self().arn + "/*"}}
	case "zone":
		return []target{hostedZone()}
	case "image": // the ARN has no account, since an AMI belongs to its publisher
		return []target{{arn: "arn:aws:ec2:" + q.region + "::image/" + q.text("ami")}}
	case "newInterface":
		return []target{{arn: q.ec2ARN("network-interface", "*")}}
	case "newVolume":
		return []target{{arn: q.ec2ARN("volume", "*")}}
	}
	input := q.kind.Inputs[name]
	ids := q.texts(name)
	if len(ids) == 0 && input.Type == "string" && input.Required {
		ids = []string{""}
	}
	var targets []target
	for _, id := range ids {
		targets = append(targets, q.of(input.RefersTo, id))
	}
	return targets
}

// tagOnCreate returns the additional permission for a request that creates a resource with tags.
func (q accessQuery) tagOnCreate(action string) call {
	service, name, _ := strings.Cut(action, ":")
	t := q.target("new")[0]
	switch service {
	case "ec2":
		return call{"ec2:CreateTags", t.with(map[string]string{"ec2:createaction": name})}
	case "iam":
		return call{"iam:Tag" + strings.TrimPrefix(name, "Create"), t}
	default:
		return call{"s3:PutBucketTagging", q.self()}
	}
}

// tagUpdates returns the requests for the tags that an update changes.
func (q accessQuery) tagUpdates() []call {
	service, _, _ := strings.Cut(q.kind.ARN, ":")
	switch {
	case !q.changed("tags"):
		return nil
	case service == "ec2":
		return q.tagUpdatesBy("ec2:CreateTags", "ec2:DeleteTags")
	case service == "iam":
		resource, _, _ := strings.Cut(strings.TrimPrefix(q.kind.Calls["create"][0], "iam:Create"), " ")
		return q.tagUpdatesBy("iam:Tag"+resource, "iam:Untag"+resource)
	default:
		return []call{{"s3:PutBucketTagging", q.self()}}
	}
}

// tagUpdatesBy returns the requests for an update of tags with separate actions: the provider first removes tags,
// then sets others.
func (q accessQuery) tagUpdatesBy(set, remove string) (calls []call) {
	t, before, after := q.self(), q.old.Tags("tags"), q.inputs.Tags("tags")
	changed, removed := maps.Clone(after), maps.Clone(before)
	maps.DeleteFunc(changed, func(key, value string) bool { old, had := before[key]; return had && old == value })
	maps.DeleteFunc(removed, func(key, _ string) bool { _, has := after[key]; return has })
	if len(removed) > 0 {
		keys := map[string]string{}
		if remove == "ec2:DeleteTags" {
			keys = requestTags(removed)
		}
		calls = append(calls, call{remove, t.with(keys)})
	}
	if len(changed) > 0 {
		remaining := t.with(requestTags(changed))
		for key := range resourceTags(removed) {
			delete(remaining.keys, key)
		}
		calls = append(calls, call{set, remaining})
	}
	return calls
}

// special returns the requests for a name in schema.json whose requests depend on more than the inputs.
func (q accessQuery) special(name string) (calls []call, known bool) {
	add := func(action string, t target) { calls = append(calls, call{action, t}) }
	switch name {
	case "passRole", "passProfilesRole": // to EC2
		role := q.text("role")
		if name == "passProfilesRole" {
			role = q.InstanceProfiles[q.text("iamInstanceProfile")].Text("role")
		}
		if role != "" {
			toEC2 := map[string]string{"iam:passedtoservice": "ec2.amazonaws.com"}
			add("iam:PassRole", q.of("aws:iam/role:Role", role).with(toEC2))
		}
	case "changeRecord":
		name := strings.Replace(schema.NormalDomain(q.text("name")), "*", `\052`, 1)
		record := map[string]string{"route53:changeresourcerecordsetsnormalizedrecordnames": name}
		add("route53:GetHostedZone", hostedZone())
		add("route53:ChangeResourceRecordSets", hostedZone().with(record))
		add("route53:GetChange", target{arn: "arn:aws:route53:::change/*"})
	case "readPolicies":
		if r := q.Roles[q.id]; r != nil && len(r.Policies) > 0 {
			add("iam:GetRolePolicy", q.self())
		}
	case "bound":
		// The role's permissions boundary is changed or removed. IAM's condition key has the boundary of the request, or
		// else the role's current one.
		if boundary := q.inputs.Text("permissionsBoundary"); boundary != "" {
			add("iam:PutRolePermissionsBoundary", q.self().with(boundedBy(boundary)))
		} else {
			add("iam:DeleteRolePermissionsBoundary", q.self())
		}
	case "leaveProfiles":
		for name, p := range q.InstanceProfiles {
			if p.Text("role") == q.id {
				add("iam:RemoveRoleFromInstanceProfile", q.of("aws:iam/instanceProfile:InstanceProfile", name))
			}
		}
	case "readProfilesRole":
		role := q.text("role")
		if p := q.InstanceProfiles[q.id]; p != nil {
			role = p.Text("role")
		}
		if role != "" {
			add("iam:GetRole", q.of("aws:iam/role:Role", role))
		}
		if role != "" && q.id != "" && q.Roles[role] == nil {
			// The provider removes a deleted role from the profile, even in a refresh.
			add("iam:RemoveRoleFromInstanceProfile", q.self())
		}
	default:
		return nil, false
	}
	return calls, true
}

func hostedZone() target { return target{arn: "arn:aws:route53:::hostedzone/" + cloud.ZoneID} }
