package awsplugin

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
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
