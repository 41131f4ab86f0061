package main

import (
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/require"
)

const (
	associationType = "aws:ec2/eipAssociation:EipAssociation"
	recordType      = "aws:route53/record:Record"
	lifecycleType   = "aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2"
)

// dependencies returns the direct and indirect dependencies of a resource, by URN.
func dependencies(resources []registered, urn string) map[string]registered {
	byURN, found := map[string]registered{}, map[string]registered{}
	for _, r := range resources {
		byURN[r.URN] = r
	}
	var add func(urn string)
	add = func(urn string) {
		for _, dependency := range append(slices.Clone(byURN[urn].DependsOn), byURN[urn].Parent) {
			if _, known := found[dependency]; !known && dependency != "" {
				found[dependency] = byURN[dependency]
				add(dependency)
			}
		}
	}
	add(urn)
	return found
}

func extraRecord(value string) func(map[string]string) {
	return func(values map[string]string) {
		values["dnsRecords"] = `[{"name": "mail.example.org", "type": "A", "values": ["` + value + `"]}]`
	}
}

// Route 53 takes 21 to 28 s to create a record, S3 takes 30 s to create a lifecycle.
func TestMoveOfTheAddressWaitsOnlyForAddressRecords(t *testing.T) {
	resources := deployed(t, "production", extraRecord("192.0.2.7"))
	records, lifecycles := 0, 0
	for _, r := range resources {
		switch r.Type {
		case recordType:
			records++
		case lifecycleType:
			lifecycles++
		}
	}
	waited := dependencies(resources, find(t, resources, associationType, "cutover").URN)
	require.Contains(t, waited, find(t, resources, "aws:ec2/instance:Instance", "web").URN)
	addresses := 0
	for _, r := range waited {
		require.NotEqual(t, lifecycleType, r.Type)
		if r.Type == recordType {
			require.Equal(t, "198.51.100.7", r.Inputs["records"].ArrayValue()[0].StringValue(), "the move waits for %s", r.Name)
			addresses++
		}
	}
	require.Positive(t, addresses, "the authority must reach the site when its server requests a certificate")
	require.Greater(t, records, addresses, "there is no extra record that the move could wait for")
	require.Equal(t, 2, lifecycles)
}

func TestReplacementChangesNoRecordAndNoLifecycle(t *testing.T) {
	slow := func(generation string) (server resource.PropertyMap, slow map[string]resource.PropertyMap) {
		resources := deployed(t, "production", func(values map[string]string) { values["generation"] = generation })
		slow = map[string]resource.PropertyMap{}
		for _, r := range resources {
			if r.Type == recordType || r.Type == lifecycleType {
				slow[r.URN] = r.Inputs
			}
		}
		return find(t, resources, "aws:ec2/instance:Instance", "web").Inputs, slow
	}
	oldServer, first := slow("4711")
	newServer, second := slow("4712")
	require.NotEqual(t, oldServer, newServer)
	require.NotEmpty(t, first)
	require.Equal(t, first, second)
}

func TestReassociationIsRequestedAndExistingAssociationsStay(t *testing.T) {
	association := find(t, deployed(t, "production"), associationType, "cutover")
	require.True(t, association.Inputs["allowReassociation"].BoolValue())
	require.Equal(t, []string{"allowReassociation"}, association.Ignored)
}
