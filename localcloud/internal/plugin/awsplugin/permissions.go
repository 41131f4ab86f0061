package awsplugin

import (
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
			calls = append(calls, special()[word](q)...)
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
		calls = append(calls, q.on(action, targets...)...)
		if slices.Contains(names, "new") && q.given("tags") {
			calls = append(calls, q.tagsNew(action)...)
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
		t := q.self()
		t.keys = nil
		return []target{t.with(boundedBy(q.text("permissionsBoundary")), q.requestTags())}
	case "objects":
		return []target{{arn: q.self().arn + "/*"}}
	case "zone":
		return []target{hostedZone()}
	case "image": // an AMI belongs to whom published it
		return []target{{arn: "arn:aws:ec2:" + q.region + "::image/" + q.text("ami")}}
	case "newInterface":
		return []target{q.fresh("network-interface")}
	case "newVolume":
		return []target{q.newVolume()}
	case "interface":
		if i := q.Instances[q.id]; i != nil {
			return []target{{arn: q.ec2ARN("network-interface", i.Shown.Text("primaryNetworkInterfaceId"))}}
		}
		return []target{q.fresh("network-interface")}
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
func (q question) tagsNew(action string) []call {
	service, name, _ := strings.Cut(action, ":")
	t := q.target("new")[0]
	switch service {
	case "ec2":
		return q.on("ec2:CreateTags", t.with(createAction(name)))
	case "iam":
		return q.on("iam:Tag"+strings.TrimPrefix(name, "Create"), t)
	default:
		return q.on("s3:PutBucketTagging", q.self())
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
		return q.on("s3:PutBucketTagging", q.self())
	}
}

func (q question) retagsAs(set, remove, property string, t target) []call {
	changed, removed := q.changedTags(property)
	var calls []call
	if len(removed) > 0 {
		keys := map[string]string{}
		if remove == "ec2:DeleteTags" {
			keys = removed.request()
		}
		calls = append(calls, call{remove, t.with(keys)})
	}
	if len(changed) > 0 {
		calls = append(calls, call{set, t.with(changed.request()).without(removed)})
	}
	return calls
}

// special are the requests that depend on more than the inputs.
func special() map[string]func(q question) []call {
	return map[string]func(q question) []call{
		"detach": func(q question) []call {
			if vpc := q.InternetGateways[q.id].Text("vpcId"); vpc != "" {
				return q.on("ec2:DetachInternetGateway", q.self(), q.of("aws:ec2/vpc:Vpc", vpc))
			}
			return nil
		},
		"disassociateSubnets": func(q question) (calls []call) {
			for _, a := range q.RouteTableAssociations {
				if a.Text("routeTableId") == q.id {
					subnet := q.of("aws:ec2/subnet:Subnet", a.Text("subnetId"))
					calls = append(calls, q.on("ec2:DisassociateRouteTable", q.self(), subnet)...)
				}
			}
			return calls
		},
		"tagNewVolume": func(q question) []call {
			return q.on("ec2:CreateTags", q.newVolume().with(createAction("RunInstances")))
		},
		"tagRootVolume": func(q question) []call {
			return q.on("ec2:CreateTags", q.newVolume().with(q.tags("rootBlockDevice.tags").request()))
		},
		"retagVolume": func(q question) []call {
			return q.retagsAs("ec2:CreateTags", "ec2:DeleteTags", "volumeTags", q.rootVolume())
		},
		"retagRootVolume": func(q question) []call {
			return q.retagsAs("ec2:CreateTags", "ec2:DeleteTags", "rootBlockDevice.tags", q.rootVolume())
		},
		// To give the role of an instance profile to EC2.
		"passProfilesRole": func(q question) []call {
			if role := q.InstanceProfiles[q.text("iamInstanceProfile")].Text("role"); role != "" {
				return q.passes(role)
			}
			return nil
		},
		"passRole": func(q question) []call { return q.passes(q.text("role")) },

		"changeRecord": func(q question) []call {
			name := strings.Replace(schema.NormalDomain(q.text("name")), "*", `\052`, 1)
			record := map[string]string{"route53:changeresourcerecordsetsnormalizedrecordnames": name}
			return slices.Concat(
				q.on("route53:GetHostedZone", hostedZone()), q.on("route53:ChangeResourceRecordSets", hostedZone().with(record)),
				q.on("route53:GetChange", target{arn: "arn:aws:route53:::change/*"}),
			)
		},

		"readPolicies": func(q question) []call {
			if r := q.Roles[q.id]; r != nil && len(r.Policies) > 0 {
				return q.on("iam:GetRolePolicy", q.self())
			}
			return nil
		},
		// A role gets another permissions boundary, or none. IAM's condition key has the boundary of
		// the request, or else the one that the role has.
		"bound": func(q question) []call {
			boundary := q.inputs.Text("permissionsBoundary")
			if boundary == "" {
				return q.on("iam:DeleteRolePermissionsBoundary", q.self())
			}
			return q.on("iam:PutRolePermissionsBoundary", q.self().with(boundedBy(boundary)))
		},
		"leaveProfiles": func(q question) (calls []call) {
			for name, p := range q.InstanceProfiles {
				if p.Text("role") == q.id {
					profile := q.of("aws:iam/instanceProfile:InstanceProfile", name)
					calls = append(calls, q.on("iam:RemoveRoleFromInstanceProfile", profile)...)
				}
			}
			return calls
		},
		"readProfilesRole": func(q question) []call {
			role := q.text("role")
			if p := q.InstanceProfiles[q.id]; p != nil {
				role = p.Text("role")
			}
			if role == "" {
				return nil
			}
			calls := q.on("iam:GetRole", q.of("aws:iam/role:Role", role))
			if q.id != "" && q.Roles[role] == nil {
				// The provider takes a role that is gone out of the profile, in a refresh as well.
				calls = append(calls, q.on("iam:RemoveRoleFromInstanceProfile", q.self())...)
			}
			return calls
		},
		// The provider adds and removes the client ids of an OIDC provider one by one.
		"changeClientIDs": func(q question) (calls []call) {
			before, after := q.old.Texts("clientIdLists"), q.inputs.Texts("clientIdLists")
			if slices.ContainsFunc(after, func(id string) bool { return !slices.Contains(before, id) }) {
				calls = append(calls, q.on("iam:AddClientIDToOpenIDConnectProvider", q.self())...)
			}
			if slices.ContainsFunc(before, func(id string) bool { return !slices.Contains(after, id) }) {
				calls = append(calls, q.on("iam:RemoveClientIDFromOpenIDConnectProvider", q.self())...)
			}
			return calls
		},
	}
}

func (q question) passes(role string) []call {
	toEC2 := map[string]string{"iam:passedtoservice": "ec2.amazonaws.com"}
	return q.on("iam:PassRole", q.of("aws:iam/role:Role", role).with(toEC2))
}

func (q question) newVolume() target { return q.fresh("volume").with(q.tags("volumeTags").request()) }

func (q question) rootVolume() target {
	i := q.Instances[q.id]
	if i == nil {
		return q.fresh("volume")
	}
	root := i.Shown.Object("rootBlockDevice")
	has := tags(root.Tags("tags"))
	if i.Shown["volumeTags"] != nil {
		has = i.Shown.Tags("volumeTags")
	}
	return target{arn: q.ec2ARN("volume", root.Text("volumeId"))}.with(has.resource())
}

func hostedZone() target { return target{arn: "arn:aws:route53:::hostedzone/" + cloud.ZoneID} }
