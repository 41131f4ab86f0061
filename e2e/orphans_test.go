package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// cloudResource is the Pulumi type and the id of an AWS resource.
type cloudResource struct{ kind, id string }

const (
	instanceKind    = "aws:ec2/instance:Instance"
	associationKind = "aws:ec2/eipAssociation:EipAssociation"
	policyKind      = "aws:iam/rolePolicy:RolePolicy"
)

// recordedKinds returns the Pulumi types of the collections in the local cloud's record of resources.
func recordedKinds() map[string]string {
	return map[string]string{
		"vpcs":                   "aws:ec2/vpc:Vpc",
		"subnets":                "aws:ec2/subnet:Subnet",
		"internetGateways":       "aws:ec2/internetGateway:InternetGateway",
		"routeTables":            "aws:ec2/routeTable:RouteTable",
		"routeTableAssociations": "aws:ec2/routeTableAssociation:RouteTableAssociation",
		"vpcEndpoints":           "aws:ec2/vpcEndpoint:VpcEndpoint",
		"securityGroups":         "aws:ec2/securityGroup:SecurityGroup",
		"securityGroupRules":     "aws:ec2/securityGroupRule:SecurityGroupRule",
		"instances":              instanceKind,
		"addresses":              "aws:ec2/eip:Eip",
		"roles":                  "aws:iam/role:Role",
		"policies":               "aws:iam/policy:Policy",
		"instanceProfiles":       "aws:iam/instanceProfile:InstanceProfile",
		"openIdConnectProviders": "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
		"buckets":                "aws:s3/bucketV2:BucketV2",
		"records":                "aws:route53/record:Record",
	}
}

// recorded returns the resources in the local cloud's own record, except those that a VPC includes.
func recorded(document []byte) ([]cloudResource, error) {
	var collections map[string]json.RawMessage
	if err := json.Unmarshal(document, &collections); err != nil {
		return nil, err
	}
	kinds := recordedKinds()
	var resources []cloudResource
	ofVPC := map[string]bool{}
	for name, collection := range collections {
		if name == "lastPublicAddress" {
			continue
		}
		kind, known := kinds[name]
		if !known {
			return nil, fmt.Errorf("the local cloud's record has an unknown collection %s; add it to recordedKinds", name)
		}
		var entries map[string]struct {
			DefaultSecurityGroupID, MainRouteTableID string                     // of a VPC
			AssociationID                            string                     // of an address
			Policies                                 map[string]json.RawMessage // of a role
		}
		if err := json.Unmarshal(collection, &entries); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for id, entry := range entries {
			resources = append(resources, cloudResource{kind, id})
			ofVPC[entry.DefaultSecurityGroupID] = true
			ofVPC[entry.MainRouteTableID] = true
			if entry.AssociationID != "" {
				resources = append(resources, cloudResource{associationKind, entry.AssociationID})
			}
			for policy := range entry.Policies {
				resources = append(resources, cloudResource{policyKind, id + ":" + policy})
			}
		}
	}
	return slices.DeleteFunc(resources, func(t cloudResource) bool { return ofVPC[t.id] }), nil
}

// deployment is the part of the output of `pulumi stack export` that this test reads.
type deployment struct {
	Deployment struct {
		Resources []struct {
			URN, Type, ID string
			Delete        bool
		}
		PendingOperations []struct {
			Type     string
			Resource struct{ URN string }
		} `json:"pending_operations"`
	}
}

// containers holds the states of the local cloud's containers for one instance, by role.
type containers map[string]string

// differences describes where the cloud's record, the running containers and the stack disagree, and lists the stack's
// pending operations.
func differences(resources []cloudResource, running map[string]containers, stack deployment) []string {
	var found []string
	note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	compared := map[string]bool{associationKind: true, policyKind: true}
	for kind := range maps.Values(recordedKinds()) {
		compared[kind] = true
	}
	known := map[cloudResource]int{}
	for _, resource := range stack.Deployment.Resources {
		if resource.Delete {
			note("%s (%s) is still to be deleted by the stack", resource.URN, resource.ID)
		}
		if compared[resource.Type] {
			known[cloudResource{resource.Type, resource.ID}]++
		}
	}
	for _, operation := range stack.Deployment.PendingOperations {
		note(pendingOperation+"%s %s", operation.Type, operation.Resource.URN)
	}

	exists := map[cloudResource]bool{}
	for _, cloudResource := range resources {
		exists[cloudResource] = true
		if known[cloudResource] == 0 {
			note("%s %s exists but is not in the stack", cloudResource.kind, cloudResource.id)
		}
		if cloudResource.kind != instanceKind {
			continue
		}
		for _, role := range []string{"instance", "interface"} {
			if state := running[cloudResource.id][role]; state != "running" {
				note("the container of instance %s with the role %s is in the state %q", cloudResource.id, role, state)
			}
		}
	}
	for cloudResource, times := range known {
		if !exists[cloudResource] {
			note("%s %s is in the stack but does not exist", cloudResource.kind, cloudResource.id)
		}
		if times > 1 {
			note("%s %s is in the stack %d times", cloudResource.kind, cloudResource.id, times)
		}
	}
	for id := range running {
		if !exists[cloudResource{instanceKind, id}] {
			note("containers of instance %s exist, but the instance is not in the cloud's record", id)
		}
	}
	slices.Sort(found)
	return found
}

// orphans describes the differences between the local cloud and all its stacks: see differences.
func (p *project) orphans(t *testing.T) []string {
	t.Helper()
	document, err := os.ReadFile(filepath.Join(p.home(), "cloud", "aws.json"))
	require.NoError(t, err)
	resources, err := recorded(document)
	require.NoError(t, err)

	var status struct {
		Containers []struct{ Role, InstanceID, State string }
	}
	require.NoError(t,
		json.Unmarshal([]byte(p.must(t, time.Minute, filepath.Join(p.home(), "bin", "localcloud"), "status", "--json")),
			&status))
	running := map[string]containers{}
	for _, container := range status.Containers {
		if container.InstanceID == "" {
			continue
		}
		if running[container.InstanceID] == nil {
			running[container.InstanceID] = containers{}
		}
		running[container.InstanceID][container.Role] = container.State
	}

	var stacks []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(p.must(t, time.Minute, "pulumi", "stack", "ls", "--all", "--json")), &stacks))
	var all deployment
	for _, stack := range stacks {
		var one deployment
		require.NoError(t,
			json.Unmarshal([]byte(p.must(t, time.Minute, "pulumi", "stack", "export", "--stack", stack.Name)), &one))
		all.Deployment.Resources = append(all.Deployment.Resources, one.Deployment.Resources...)
		all.Deployment.PendingOperations = append(all.Deployment.PendingOperations, one.Deployment.PendingOperations...)
	}
	require.NotEmpty(t, all.Deployment.Resources)
	return append(differences(resources, running, all), p.danglingVolumes(t)...)
}

// converges requires that one more update, without manual steps, brings the stack to its desired state and leaves no
// orphans.
func (p *project) converges(t *testing.T) result {
	t.Helper()
	up := p.pulumiUp(t)
	require.NoError(t, up.err, up.String())
	p.converged(t)
	return up
}

// pendingOperation is the prefix of a difference that can be cleared from Pulumi's state.
const pendingOperation = "pending operation: "

// interrupted separates pending operations, which a killed engine left in the state, from other differences.
func interrupted(differences []string) (pending, others []string) {
	for _, difference := range differences {
		if strings.HasPrefix(difference, pendingOperation) {
			pending = append(pending, difference)
		} else {
			others = append(others, difference)
		}
	}
	return pending, others
}

// forgetPending removes interrupted operations from the state: Pulumi keeps them forever because it does not know their
// outcome. It returns the remaining differences, which include resources that such an operation created.
func (p *project) forgetPending(t *testing.T) (others []string) {
	t.Helper()
	pending, others := interrupted(p.orphans(t))
	if len(pending) == 0 {
		return others
	}
	t.Logf("forgetting what a killed update left: %s", strings.Join(pending, "; "))
	p.must(t, 5*time.Minute, "pulumi", "refresh", "--clear-pending-creates", "--yes", "--stack", "local",
		"--non-interactive")
	return p.orphans(t)
}

// startClean begins a long test that requires at its end that nothing is left over: earlier leftovers must not make it
// fail after hours of measurements.
func (p *project) startClean(t *testing.T) {
	t.Helper()
	require.Empty(t, p.forgetPending(t),
		"a killed update left these behind, and this test would fail at its end; run `make down`, then run this again")
}

// converged requires that the stack's server serves, that no change is pending, and that no orphans exist.
func (p *project) converged(t *testing.T) {
	t.Helper()
	out := p.outputs(t)
	server, release := p.served(t)
	require.Equal(t, out.ServerID, server)
	require.Equal(t, out.Release, release)
	preview := p.run(t, 5*time.Minute, "pulumi", "preview", "--expect-no-changes", "--stack", "local", "--non-interactive")
	require.NoError(t, preview.err, preview.String())
	require.Empty(t, p.orphans(t))
}

// danglingVolumes describes volumes without a container. Volumes have no label, so their owner is unknown unless the
// Docker engine is the local cloud's own.
func (p *project) danglingVolumes(t *testing.T) []string {
	t.Helper()
	own := slices.ContainsFunc(p.env, func(variable string) bool {
		return strings.HasPrefix(variable, "DOCKER_HOST=") && strings.Contains(variable, "localcloud")
	})
	if !own {
		return nil
	}
	var found []string
	for _, volume := range strings.Fields(p.must(t, time.Minute, "docker", "volume", "ls", "--quiet", "--filter",
		"dangling=true")) {
		found = append(found, "no container uses the volume "+volume)
	}
	return found
}

func TestOrphansAreFound(t *testing.T) {
	const record = `{
		"vpcs": {"vpc-1": {"defaultSecurityGroupId": "sg-default", "mainRouteTableId": "rtb-main"}},
		"securityGroups": {"sg-default": {}, "sg-1": {}},
		"routeTables": {"rtb-main": {}},
		"instances": {"i-1": {"instance": {"id": "i-1"}}},
		"addresses": {"eipalloc-1": {"associationId": "eipassoc-1"}},
		"roles": {"web": {"policies": {"read": {}}}},
		"records": {"Z1_www.example.org_A": {"records": ["198.18.1.1"], "ttl": 300}},
		"lastPublicAddress": 7
	}`
	const stack = `{"deployment": {"resources": [
		{"urn": "a", "type": "pulumi:pulumi:Stack"},
		{"urn": "b", "type": "aws:ec2/vpc:Vpc", "id": "vpc-1"},
		{"urn": "c", "type": "aws:ec2/securityGroup:SecurityGroup", "id": "sg-1"},
		{"urn": "d", "type": "aws:ec2/instance:Instance", "id": "i-1"},
		{"urn": "e", "type": "aws:ec2/eip:Eip", "id": "eipalloc-1"},
		{"urn": "f", "type": "aws:ec2/eipAssociation:EipAssociation", "id": "eipassoc-1"},
		{"urn": "g", "type": "aws:iam/role:Role", "id": "web"},
		{"urn": "h", "type": "aws:iam/rolePolicy:RolePolicy", "id": "web:read"},
		{"urn": "i", "type": "aws:route53/record:Record", "id": "Z1_www.example.org_A"}
	]}}`
	const runs = `{"i-1": {"instance": "running", "interface": "running"}}`

	for name, c := range map[string]struct {
		in, old, new string // what is replaced in one of the documents
		found        string
	}{
		"nothing is wrong": {},
		"an unknown instance": {
			"record", `"i-1": {`, `"i-2": {}, "i-1": {`, "aws:ec2/instance:Instance i-2 exists but is not in the stack",
		},
		"an unknown association": {
			"record", "eipassoc-1", "eipassoc-2",
			"aws:ec2/eipAssociation:EipAssociation eipassoc-2 exists but is not in the stack",
		},
		"an unknown policy": {
			"record", `"read": {}`, `"read": {}, "write": {}`,
			"aws:iam/rolePolicy:RolePolicy web:write exists but is not in the stack",
		},
		"an unknown record": {
			"record", `Z1_www.example.org_A": {`, `Z1_old.example.org_A": {}, "Z1_www.example.org_A": {`,
			"aws:route53/record:Record Z1_old.example.org_A exists but is not in the stack",
		},
		"a deleted group": {
			"record", `, "sg-1": {}`, "", "aws:ec2/securityGroup:SecurityGroup sg-1 is in the stack but does not exist",
		},
		"a duplicate resource": {
			"stack", `"id": "i-1"}`, `"id": "i-1"}, {"urn": "d", "type": "aws:ec2/instance:Instance", "id": "i-1"}`,
			"aws:ec2/instance:Instance i-1 is in the stack 2 times",
		},
		"an unfinished deletion": {
			"stack", `"id": "sg-1"`, `"id": "sg-1", "delete": true`, "c (sg-1) is still to be deleted by the stack",
		},
		"a pending operation": {
			"stack", `]}}`, `], "pending_operations": [{"type": "creating", "resource": {"urn": "z"}}]}}`,
			"pending operation: creating z",
		},
		"an extra container": {
			"runs", `{"i-1"`, `{"i-2": {"instance": "exited"}, "i-1"`,
			"containers of instance i-2 exist, but the instance is not in the cloud's record",
		},
		"a server that does not run": {
			"runs", `"instance": "running"`, `"instance": "exited"`,
			`the container of instance i-1 with the role instance is in the state "exited"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			documents := map[string]string{"record": record, "stack": stack, "runs": runs}
			if c.in != "" {
				require.Contains(t, documents[c.in], c.old)
				documents[c.in] = strings.Replace(documents[c.in], c.old, c.new, 1)
			}
			resources, err := recorded([]byte(documents["record"]))
			require.NoError(t, err)
			var exported deployment
			require.NoError(t, json.Unmarshal([]byte(documents["stack"]), &exported))
			var running map[string]containers
			require.NoError(t, json.Unmarshal([]byte(documents["runs"]), &running))

			found := differences(resources, running, exported)
			if c.found == "" {
				require.Empty(t, found)
				return
			}
			require.Contains(t, found, c.found)
		})
	}

	pending, others := interrupted(differences(nil, nil, deployment{}))
	require.Empty(t, append(pending, others...))
	var killed deployment
	require.NoError(t,
		json.Unmarshal([]byte(`{"deployment": {"resources": [{"urn": "c", "id": "sg-1", "delete": true}], "pending_operations": [
		{"type": "creating", "resource": {"urn": "z"}}, {"type": "updating", "resource": {"urn": "y"}}]}}`), &killed))
	pending, others = interrupted(differences(nil, nil, killed))
	require.Equal(t, []string{"pending operation: creating z", "pending operation: updating y"}, pending,
		"T2: make bench removes these from the state before it begins")
	require.Equal(t, []string{"c (sg-1) is still to be deleted by the stack"}, others)

	_, err := recorded([]byte(`{"loadBalancers": {}}`))
	require.ErrorContains(t, err, "loadBalancers")
}
