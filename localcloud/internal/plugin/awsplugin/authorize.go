package awsplugin

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// signIn says with what account the plugin was called, and which is the
// administrator's.
type signIn func() (given, root store.Account, err error)

// identify finds out who calls, or answers as AWS does to somebody it does not know.
func (pl *plugin) identify(state *store.State) (caller.Caller, error) {
	const hint = "for the local cloud's own, run: eval \"$(make -s env)\""
	given, root, err := pl.signIn()
	if err != nil {
		return caller.Caller{}, err
	}
	if given.AccessKeyID == "" {
		return caller.Caller{}, apiError("MissingAuthenticationToken", "AWS_ACCESS_KEY_ID is not set; %s", hint)
	}
	found, secret, known, err := caller.Find(state, root, given.AccessKeyID)
	switch {
	case err != nil:
		return caller.Caller{}, err
	case !known:
		return caller.Caller{}, apiError("InvalidClientTokenId",
			"The security token included in the request is invalid: localcloud has no access key %s, as in AWS_ACCESS_KEY_ID; %s", given.AccessKeyID, hint)
	case secret != given.SecretAccessKey:
		return caller.Caller{}, apiError("SignatureDoesNotMatch",
			"The request signature we calculated does not match the signature you provided: AWS_SECRET_ACCESS_KEY is not that of %s; %s", given.AccessKeyID, hint)
	}
	return found, nil
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
	keys := maps.Clone(t.keys)
	if keys == nil {
		keys = map[string]string{}
	}
	for _, m := range more {
		maps.Copy(keys, m)
	}
	return target{t.arn, keys}
}

// without is the target after an earlier request of the same operation has removed tags from it.
func (t target) without(removed tags) target {
	keys := maps.Clone(t.keys)
	for key := range removed.resource() {
		delete(keys, key)
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
	inputs, old property.Map
}

// on is a request about each of the targets, which are asked for one by one.
func (q question) on(action string, targets ...target) []call {
	var calls []call
	for _, t := range targets {
		calls = append(calls, call{action, t})
	}
	return calls
}

// fresh is a resource of EC2 that the request makes.
func (q question) fresh(kind string) target { return target{arn: q.ec2ARN(kind, "*")} }

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
	return target{arn: arn}.with(q.tags("tags").resource(), boundedBy(q.text("permissionsBoundary")))
}

// of is a resource of a type with its tags.
func (q question) of(token, id string) target {
	k, r := q.plugin.kinds[token], q.record(token, id)
	arn := cmp.Or(r.Text("arn"), k.arnOf(q.region, "/", id))
	if r == nil && k.IDIsARN {
		arn = id
	}
	return target{arn: arn}.with(tags(r.Tags("tags")).resource(), boundedBy(r.Text("permissionsBoundary")))
}

// boundedBy is a role's permissions boundary as the condition key of requests about the role.
func boundedBy(boundary string) map[string]string {
	if boundary == "" {
		return nil
	}
	return map[string]string{"iam:permissionsboundary": boundary}
}

// tags are tags by their keys.
type tags map[string]string

// request is the tags as the condition keys of a request that sets them.
func (t tags) request() map[string]string { return t.keys("aws:requesttag/") }

// resource is the tags as the condition keys of a request about what has them.
func (t tags) resource() map[string]string { return t.keys("aws:resourcetag/") }

func (t tags) keys(kind string) map[string]string {
	keys := map[string]string{}
	for name, value := range t {
		keys[kind+strings.ToLower(name)] = value
	}
	return keys
}

func (q question) requestTags() map[string]string { return q.tags("tags").request() }

// tags reads an input that holds tags.
func (q question) tags(name string) tags { return tagsAt(q.inputs, name) }

func tagsAt(inputs property.Map, name string) tags {
	v := at(inputs, name)
	if !v.IsMap() {
		return nil
	}
	found := tags{}
	for key, value := range v.AsMap().All {
		if value.IsString() {
			found[key] = value.AsString()
		}
	}
	return found
}

// changedTags are the tags that an update sets, and those that it takes away.
func (q question) changedTags(name string) (set, removed tags) {
	before, after := tagsAt(q.old, name), q.tags(name)
	set, removed = tags{}, tags{}
	for key, value := range after {
		if old, had := before[key]; !had || old != value {
			set[key] = value
		}
	}
	for key, value := range before {
		if _, has := after[key]; !has {
			removed[key] = value
		}
	}
	return set, removed
}

// text is an input, or before a delete what it was, or else what the resource has.
func (q question) text(name string) string {
	v := at(q.inputs, name)
	if v.IsNull() {
		v = at(q.old, name)
	}
	if v.IsString() {
		return v.AsString()
	}
	if q.kind == nil || q.id == "" {
		return ""
	}
	return q.record(q.kind.Token, q.id).Text(name)
}

// texts are the strings of an input, which is one string or a list.
func (q question) texts(name string) []string {
	if text := q.text(name); text != "" {
		return []string{text}
	}
	return texts(q.inputs, name)
}

func texts(inputs property.Map, name string) []string {
	var found []string
	if v := at(inputs, name); v.IsArray() {
		for _, item := range v.AsArray().All {
			if item.IsString() {
				found = append(found, item.AsString())
			}
		}
	}
	return found
}

// given reports whether an input is there, and neither empty nor false.
func (q question) given(name string) bool {
	v := at(q.inputs, name)
	if q.inputs.Len() == 0 {
		v = at(q.old, name)
	}
	return !schema.IsEmpty(v)
}

func (q question) changed(name string) bool {
	plain := func(v property.Value) property.Value { return v.WithSecret(false).WithDependencies(nil) }
	return !plain(at(q.inputs, name)).Equals(plain(at(q.old, name)))
}

// at is the value at a path such as rootBlockDevice.tags.
func at(values property.Map, path string) property.Value {
	name, rest, nested := strings.Cut(path, ".")
	v := values.Get(name)
	if !nested {
		return v
	}
	if !v.IsMap() {
		return property.Value{}
	}
	return at(v.AsMap(), rest)
}
