package awsplugin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

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
		own, err := op.policyOf(c.target.arn)
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

// policyOf is the policy of the bucket that an ARN is of, or nil.
func (op *operation) policyOf(arn string) (*policy.Document, error) {
	path, isS3 := strings.CutPrefix(arn, "arn:aws:s3:::")
	name, _, _ := strings.Cut(path, "/")
	b := op.Buckets[name]
	if !isS3 || b == nil || b.Policy == nil {
		return nil, nil
	}
	document, err := policy.BucketPolicy(name, b.Policy.Policy)
	if err != nil {
		return nil, apiError("MalformedPolicy", "bucket %s: %s", name, err)
	}
	return &document, nil
}

// question is what the table of permissions is asked about: one operation on one
// resource.
type question struct {
	*operation
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

// about is a request for each of the actions, which are about no resource.
func (q question) about(actions ...string) []call {
	var calls []call
	for _, action := range actions {
		calls = append(calls, call{action, target{arn: "*"}})
	}
	return calls
}

// makes is a request that makes something of EC2 in, or from, other things. It
// gets the tags of the inputs, and is what the tags in the request are about.
func (q question) makes(action, kind string, others ...target) []call {
	return all(
		q.on(action, q.fresh(kind).with(q.requestTags())),
		q.on(action, others...),
		q.tagsNew(strings.TrimPrefix(action, "ec2:"), q.fresh(kind)),
	)
}

// tagsNew is what a request of EC2 needs beside its own action when it tags what it makes.
func (q question) tagsNew(action string, t target) []call {
	return q.ifGiven("tags", q.on("ec2:CreateTags", t.with(q.requestTags(), createAction(action))))
}

func createAction(action string) map[string]string {
	return map[string]string{"ec2:createaction": action}
}

// retags are the requests for the tags of EC2 that changed.
func (q question) retags(t target) []call { return q.retagsFrom("tags", t) }

func (q question) retagsFrom(name string, t target) []call {
	set, removed := q.changedTags(name)
	var calls []call
	if len(removed) > 0 {
		calls = append(calls, call{"ec2:DeleteTags", t.with(removed.request())})
	}
	if len(set) > 0 {
		calls = append(calls, call{"ec2:CreateTags", t.with(set.request()).without(removed)})
	}
	return calls
}

// retagsIAM are the requests for the tags of an IAM resource that changed.
func (q question) retagsIAM(kind string, t target) []call {
	set, removed := q.changedTags("tags")
	var calls []call
	if len(removed) > 0 {
		calls = append(calls, call{"iam:Untag" + kind, t})
	}
	if len(set) > 0 {
		calls = append(calls, call{"iam:Tag" + kind, t.with(set.request()).without(removed)})
	}
	return calls
}

// onBucket is a request for each of the actions about the bucket of the resource.
func (q question) onBucket(actions ...string) []call {
	var calls []call
	for _, action := range actions {
		calls = append(calls, call{action, target{arn: "arn:aws:s3:::" + q.bucketName()}})
	}
	return calls
}

func (q question) objects() target { return target{arn: "arn:aws:s3:::" + q.bucketName() + "/*"} }

func (q question) bucketName() string {
	if q.id != "" {
		return q.id
	}
	return q.name("bucket", "bucketPrefix")
}

// ec2 is a resource of EC2 with its tags.
func (q question) ec2(kind, id string) target {
	return target{arn: q.ec2ARN(kind, id)}.with(q.ec2Tags(kind, id).resource())
}

// fresh is a resource of EC2 that the request makes.
func (q question) fresh(kind string) target { return target{arn: q.ec2ARN(kind, "*")} }

// self is the resource of EC2 that the question is about. When it is about to be
// made, it is there, with its tags, by the time of the request.
func (q question) self(kind string) target {
	if q.id == "" {
		return q.fresh(kind).with(q.tags("tags").resource())
	}
	return q.ec2(kind, q.id)
}

// image is an AMI, which belongs to whom published it.
func (q question) image(id string) target {
	return target{arn: fmt.Sprintf("arn:aws:ec2:%s::image/%s", q.region, id)}
}

func (q question) rootVolume() target {
	i := q.Instances[q.id]
	if i == nil {
		return q.fresh("volume")
	}
	shown := tags(i.Instance.VolumeTags)
	if shown == nil {
		shown = i.Instance.RootBlockDevice.Tags
	}
	return target{arn: q.ec2ARN("volume", i.Instance.RootBlockDevice.VolumeID)}.with(shown.resource())
}

// role is the role that the question is about.
func (q question) role() target {
	if q.id != "" {
		return q.roleNamed(q.id)
	}
	return target{arn: iamARN("role", q.text("path"), q.name("name", "namePrefix"))}.with(boundedBy(q.text("permissionsBoundary")))
}

func (q question) roleNamed(name string) target {
	if r := q.Roles[name]; r != nil {
		return target{arn: r.Role.Arn}.with(tags(r.Role.Tags).resource(), boundedBy(r.Role.PermissionsBoundary))
	}
	return target{arn: iamARN("role", "/", name)}
}

// boundedBy is a role's permissions boundary as the condition key of requests about the role.
func boundedBy(boundary string) map[string]string {
	if boundary == "" {
		return nil
	}
	return map[string]string{"iam:permissionsboundary": boundary}
}

// managedPolicy is the managed policy that the question is about.
func (q question) managedPolicy() target {
	if p := q.Policies[q.id]; p != nil {
		return target{arn: p.Arn}.with(tags(p.Tags).resource())
	}
	return target{arn: iamARN("policy", q.text("path"), q.name("name", "namePrefix"))}
}

// profile is the instance profile that the question is about.
func (q question) profile() target {
	if q.InstanceProfiles[q.id] != nil {
		return q.profileNamed(q.id)
	}
	return target{arn: iamARN("instance-profile", q.text("path"), q.name("name", "namePrefix"))}
}

func (q question) profileNamed(name string) target {
	p := q.InstanceProfiles[name]
	return target{arn: p.Arn}.with(tags(p.Tags).resource())
}

// provider is the OIDC provider that the question is about, by its id or its URL.
func (q question) provider() target {
	arn := q.id
	if arn == "" {
		arn = providerARN(strings.TrimPrefix(q.text("url"), "https://"))
	}
	if p := q.OpenIDConnectProviders[arn]; p != nil {
		return target{arn: arn}.with(tags(p.Tags).resource())
	}
	return target{arn: arn}
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

// ec2Tags are the tags of what exists.
func (op *operation) ec2Tags(kind, id string) tags {
	switch kind {
	case "vpc":
		return tagsOf(op.Vpcs, id, func(v *store.Vpc) tags { return v.Tags })
	case "subnet":
		return tagsOf(op.Subnets, id, func(s *store.Subnet) tags { return s.Tags })
	case "internet-gateway":
		return tagsOf(op.InternetGateways, id, func(g *store.InternetGateway) tags { return g.Tags })
	case "route-table":
		return tagsOf(op.RouteTables, id, func(t *store.RouteTable) tags { return t.Tags })
	case "vpc-endpoint":
		return tagsOf(op.VpcEndpoints, id, func(e *store.VpcEndpoint) tags { return e.Tags })
	case "security-group":
		return tagsOf(op.SecurityGroups, id, func(g *store.SecurityGroup) tags { return g.Tags })
	case "key-pair":
		return tagsOf(op.KeyPairs, id, func(k *store.KeyPair) tags { return k.Tags })
	case "instance":
		return tagsOf(op.Instances, id, func(i *store.InstanceRecord) tags { return i.Instance.Tags })
	case "elastic-ip":
		return tagsOf(op.Addresses, id, func(a *store.Address) tags { return a.Tags })
	}
	return nil // network interfaces have none here
}

func tagsOf[R any](collection map[string]*R, id string, read func(*R) tags) tags {
	if r, ok := collection[id]; ok {
		return read(r)
	}
	return nil
}

// text is an input, or before a delete what it was.
func (q question) text(name string) string {
	v := at(q.inputs, name)
	if v.IsNull() {
		v = at(q.old, name)
	}
	if !v.IsString() {
		return ""
	}
	return v.AsString()
}

func (q question) texts(name string) []string { return texts(q.inputs, name) }

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

// name is the name that a resource will have, as far as it is known.
func (q question) name(name, prefix string) string {
	if given := q.text(name); given != "" {
		return given
	}
	return q.text(prefix) + "*"
}

// ifGiven is the calls if the input is there, and not empty.
func (q question) ifGiven(name string, calls []call) []call {
	v := at(q.inputs, name)
	if q.inputs.Len() == 0 {
		v = at(q.old, name)
	}
	switch {
	case v.IsNull(), v.IsString() && v.AsString() == "", v.IsArray() && v.AsArray().Len() == 0, v.IsMap() && v.AsMap().Len() == 0:
		return nil
	}
	return calls
}

func (q question) ifTrue(name string, calls []call) []call {
	v := at(q.inputs, name)
	if q.inputs.Len() == 0 {
		v = at(q.old, name)
	}
	if !v.IsBool() || !v.AsBool() {
		return nil
	}
	return calls
}

func (q question) ifChanged(name string, calls []call) []call {
	plain := func(v property.Value) property.Value { return v.WithSecret(false).WithDependencies(nil) }
	if plain(at(q.inputs, name)).Equals(plain(at(q.old, name))) {
		return nil
	}
	return calls
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
