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

// signIn says with what account the plugin was called, and which is the
// administrator's.
type signIn func() (given, root store.Account, err error)

// identify finds out who calls, or answers as AWS does to an unknown caller.
func (pl *plugin) identify(state *store.State) (caller.Caller, error) {
	const hint = "for the local cloud's own, run: eval \"$(make -s env)\""
	given, root, err := pl.signIn()
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
			"localcloud has no access key %s, as in AWS_ACCESS_KEY_ID; %s", given.AccessKeyID, hint)
	case found.SecretAccessKey != given.SecretAccessKey:
		return caller.Caller{}, apiError("SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you "+
				"provided: AWS_SECRET_ACCESS_KEY is not that of %s; %s", given.AccessKeyID, hint)
	}
	return *found, nil
}

// call is one request to one of AWS's APIs.
type call struct {
	action string // such as ec2:RunInstances
	target target
}

// target is what a request is about, with the condition keys that come with it.
type target struct {
	arn  string
	keys map[string]string
}

// with is the target in a request that has more condition keys.
func (t target) with(more ...map[string]string) target {
	keys := map[string]string{}
	for _, m := range append([]map[string]string{t.keys}, more...) {
		maps.Copy(keys, m)
	}
	return target{t.arn, keys}
}

// authorize refuses the operation when the caller may not send one of the
// requests that it takes. The error is AWS's for the first of them; what else is
// missing follows.
func (op *operation) authorize(calls []call) error {
	refused := map[string]bool{}
	code, first := "", ""
	for _, c := range calls {
		service, _, _ := strings.Cut(c.action, ":")
		keys := map[string]string{"aws:securetransport": "true", "aws:requestedregion": op.region}
		if service == "iam" || service == "route53" {
			keys["aws:requestedregion"] = "us-east-1" // where the services of the whole world are
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
			refused[c.action+" on "+c.target.arn] = true
		}
	}
	if first == "" {
		return nil
	}
	if len(refused) > 0 {
		first += ". Not allowed either, and needed here: " + strings.Join(slices.Sorted(maps.Keys(refused)), ", ")
	}
	return apiError(code, "%s", first)
}

// question is what the permissions are asked about: one operation on one resource.
type question struct {
	*operation
	kind        *kind
	id          string // empty before the resource is made
	inputs, old store.Record
}

// self is the resource that the question is about. When it is about to be made, it
// is there, with its tags, by the time of the request.
func (q question) self() target {
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

// of is a resource of a type with its tags.
func (q question) of(token, id string) target {
	k, r := q.plugin.kinds[token], q.record(token, id)
	arn := cmp.Or(r.Text("arn"), k.arnOf(q.region, "/", id))
	if r == nil && k.IDIsARN {
		arn = id
	}
	return target{arn: arn}.with(resourceTags(r.Tags("tags")), boundedBy(r.Text("permissionsBoundary")))
}

// boundedBy is a role's permissions boundary as the condition key of requests about the role.
func boundedBy(boundary string) map[string]string {
	if boundary == "" {
		return nil
	}
	return map[string]string{"iam:permissionsboundary": boundary}
}

// requestTags are tags as the condition keys of a request that sets them.
func requestTags(tags map[string]string) map[string]string { return tagKeys("aws:requesttag/", tags) }

// resourceTags are tags as the condition keys of a request about what has them.
func resourceTags(tags map[string]string) map[string]string { return tagKeys("aws:resourcetag/", tags) }

func tagKeys(kind string, tags map[string]string) map[string]string {
	keys := map[string]string{}
	for name, value := range tags {
		keys[kind+strings.ToLower(name)] = value
	}
	return keys
}

// texts are the strings of an input, or before a delete what they were, or else what
// the resource has.
func (q question) texts(path string) []string {
	for _, r := range []store.Record{q.inputs, q.old, q.stored()} {
		if r.At(path) != nil {
			return r.Texts(path)
		}
	}
	return nil
}

func (q question) text(path string) string { return strings.Join(q.texts(path), " ") }

// stored is the resource that the question is about, or nil.
func (q question) stored() store.Record {
	if q.kind == nil || q.id == "" {
		return nil
	}
	return q.record(q.kind.Token, q.id)
}

// given reports whether an input is there, and neither empty nor false.
func (q question) given(path string) bool {
	if len(q.inputs) == 0 {
		return q.old.Has(path)
	}
	return q.inputs.Has(path)
}

func (q question) changed(path string) bool {
	return !reflect.DeepEqual(q.inputs.At(path), q.old.At(path))
}

// calls are the requests to AWS's APIs by which terraform-provider-aws 5.100, which
// pulumi-aws 6.83 bridges, runs one operation on a resource: create, read, update or
// delete it. After a create or an update the provider reads the resource, and it sets
// tags that changed; schema.json does not repeat that. It leaves out requests that the
// provider sends only under circumstances that localcloud does not have.
//
// schema.json has a list of clauses for each: conditions, and a colon behind them;
// then actions and the targets that each is about, or the name of one of the special
// requests. "given P" holds when the input P is there, and not empty; "changed P" when
// an update changes it; "has P" when the resource has it. Actions without a target are
// about no resource. Targets are
//
//	@self      the resource
//	@new       the resource that the request makes, with its tags
//	@P         what the property P refers to
//
// and the ones of question.target. A test compares the table with a recording of the
// provider. Which action a request needs, and on what, is as in AWS's Service
// Authorization Reference.
func (k *kind) calls(phase string, q question) []call {
	q.kind = k
	calls := q.clauses(k.Calls[phase]...)
	if phase == "update" {
		calls = append(q.retags(), calls...)
	}
	if phase == "create" || phase == "update" {
		calls = append(calls, q.clauses(k.Calls["read"]...)...)
	}
	return calls
}

func (q question) clauses(clauses ...string) []call {
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

func (q question) hold(conditions []string) bool {
	for condition := range slices.Chunk(conditions, 2) {
		switch word, property := condition[0], condition[1]; {
		case word == "given" && !q.given(property), word == "changed" && !q.changed(property),
			word == "has" && !q.stored().Has(property):
			return false
		}
	}
	return true
}

func (q question) clause(words []string) []call {
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
			calls = append(calls, q.tagsNew(action))
		}
	}
	return calls
}

// target is what a name in the declarations stands for, with its tags.
func (q question) target(name string) []target {
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
	case "image": // an AMI belongs to whom published it
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

// tagsNew is what a request needs beside its own action when it tags what it makes.
func (q question) tagsNew(action string) call {
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

// retags are the requests for the tags that an update changes.
func (q question) retags() []call {
	service, _, _ := strings.Cut(q.kind.ARN, ":")
	switch {
	case !q.changed("tags"):
		return nil
	case service == "ec2":
		return q.retagsAs("ec2:CreateTags", "ec2:DeleteTags")
	case service == "iam":
		made, _, _ := strings.Cut(strings.TrimPrefix(q.kind.Calls["create"][0], "iam:Create"), " ")
		return q.retagsAs("iam:Tag"+made, "iam:Untag"+made)
	default:
		return []call{{"s3:PutBucketTagging", q.self()}}
	}
}

// retagsAs are the requests that first take away tags, and then set others.
func (q question) retagsAs(set, remove string) (calls []call) {
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
		left := t.with(requestTags(changed))
		for key := range resourceTags(removed) {
			delete(left.keys, key)
		}
		calls = append(calls, call{set, left})
	}
	return calls
}

// special are the requests of a name in the table that depend on more than the inputs.
func (q question) special(name string) (calls []call, known bool) {
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
		// A role gets another permissions boundary, or none. IAM's condition key has the boundary of
		// the request, or else the one that the role has.
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
			// The provider takes a role that is gone out of the profile, in a refresh as well.
			add("iam:RemoveRoleFromInstanceProfile", q.self())
		}
	default:
		return nil, false
	}
	return calls, true
}

func hostedZone() target { return target{arn: "arn:aws:route53:::hostedzone/" + cloud.ZoneID} }
