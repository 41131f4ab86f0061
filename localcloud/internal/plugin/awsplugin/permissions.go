package awsplugin

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
)

// calls are the requests to AWS's APIs by which terraform-provider-aws 5.100, which
// pulumi-aws 6.83 bridges, does one thing with a resource: create, read, update or
// delete it. After a create or an update the provider reads the resource, and it sets
// tags that changed; schema.json does not repeat that. It leaves out requests that the
// provider sends only under circumstances that localcloud does not have.
//
// schema.json has a list of clauses for each: conditions, and a colon behind them;
// then actions and the targets that each is about, or the name of one of the special
// requests. "given P" holds when the input P is there, and not empty; "changed P" when
// an update changes it; "has P" and "lacks P" by what the resource has. Actions without
// a target are about no resource. Targets are
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
			word == "has" && !q.stored().Has(property), word == "lacks" && q.stored().Has(property):
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
		return []target{q.newVolume("volumeTags")}
	case "interface":
		id := q.stored().Text("primaryNetworkInterfaceId")
		return []target{{arn: q.ec2ARN("network-interface", cmp.Or(id, "*"))}}
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
		return call{"ec2:CreateTags", t.with(createAction(name))}
	case "iam":
		return call{"iam:Tag" + strings.TrimPrefix(name, "Create"), t}
	default:
		return call{"s3:PutBucketTagging", q.self()}
	}
}

func createAction(action string) map[string]string {
	return map[string]string{"ec2:createaction": action}
}

// retags are the requests for the tags that an update changes.
func (q question) retags() []call {
	service, _, _ := strings.Cut(q.kind.ARN, ":")
	switch {
	case !q.changed("tags"):
		return nil
	case service == "ec2":
		return q.retagsAs("ec2:CreateTags", "ec2:DeleteTags", "tags", q.self())
	case service == "iam":
		made, _, _ := strings.Cut(strings.TrimPrefix(q.kind.Calls["create"][0], "iam:Create"), " ")
		return q.retagsAs("iam:Tag"+made, "iam:Untag"+made, "tags", q.self())
	default:
		return []call{{"s3:PutBucketTagging", q.self()}}
	}
}

// retagsAs are the requests that first take away tags, and then set others.
func (q question) retagsAs(set, remove, property string, t target) (calls []call) {
	before, after := q.old.Tags(property), q.inputs.Tags(property)
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
	case "detach":
		if vpc := q.stored().Text("vpcId"); vpc != "" {
			add("ec2:DetachInternetGateway", q.self())
			add("ec2:DetachInternetGateway", q.of("aws:ec2/vpc:Vpc", vpc))
		}
	case "disassociateSubnets":
		for _, a := range q.RouteTableAssociations {
			if a.Text("routeTableId") == q.id {
				add("ec2:DisassociateRouteTable", q.self())
				add("ec2:DisassociateRouteTable", q.of("aws:ec2/subnet:Subnet", a.Text("subnetId")))
			}
		}
	case "tagNewVolume":
		add("ec2:CreateTags", q.newVolume("volumeTags").with(createAction("RunInstances")))
	case "tagRootVolume":
		add("ec2:CreateTags", q.newVolume("volumeTags", "rootBlockDevice.tags"))
	case "retagVolume":
		calls = q.retagsAs("ec2:CreateTags", "ec2:DeleteTags", "volumeTags", q.rootVolume())
	case "retagRootVolume":
		calls = q.retagsAs("ec2:CreateTags", "ec2:DeleteTags", "rootBlockDevice.tags", q.rootVolume())
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
	case "changeClientIDs":
		// The provider adds and removes the client ids of an OIDC provider one by one.
		before, after := q.old.Texts("clientIdLists"), q.inputs.Texts("clientIdLists")
		if slices.ContainsFunc(after, func(id string) bool { return !slices.Contains(before, id) }) {
			add("iam:AddClientIDToOpenIDConnectProvider", q.self())
		}
		if slices.ContainsFunc(before, func(id string) bool { return !slices.Contains(after, id) }) {
			add("iam:RemoveClientIDFromOpenIDConnectProvider", q.self())
		}
	default:
		return nil, false
	}
	return calls, true
}

// newVolume is the root volume that a launch makes, with the tags of some inputs.
func (q question) newVolume(tags ...string) target {
	t := target{arn: q.ec2ARN("volume", "*")}
	for _, property := range tags {
		t = t.with(requestTags(q.inputs.Tags(property)))
	}
	return t
}

func (q question) rootVolume() target {
	instance := q.stored()
	tags := instance.Tags("rootBlockDevice.tags")
	if instance["volumeTags"] != nil {
		tags = instance.Tags("volumeTags")
	}
	volume := cmp.Or(instance.Text("rootBlockDevice.volumeId"), "*")
	return target{arn: q.ec2ARN("volume", volume)}.with(resourceTags(tags))
}

func hostedZone() target { return target{arn: "arn:aws:route53:::hostedzone/" + cloud.ZoneID} }
