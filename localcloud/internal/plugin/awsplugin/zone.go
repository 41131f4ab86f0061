package awsplugin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// zones are the availability zones of a region: six in us-east-1, as on AWS, and three elsewhere.
func zones(region string) []string {
	letters := "abc"
	if region == "us-east-1" {
		letters = "abcdef"
	}
	var names []string
	for _, letter := range letters {
		names = append(names, region+string(letter))
	}
	return names
}

// offers reports whether instances of a type can be launched in a zone. On AWS, us-east-1e has
// neither t3 nor Graviton.
func offers(zone, instanceType string) bool {
	form := regexp.MustCompile(`^[a-z]+[0-9][a-z0-9-]*\.(nano|micro|small|medium|large|[0-9]*xlarge|metal[a-z0-9-]*)$`)
	if !form.MatchString(instanceType) {
		return false
	}
	return zone != "us-east-1e" || !strings.HasPrefix(instanceType, "t3.") && schema.Architecture(instanceType) != "arm64"
}

// offering are the zones of a region that offer an instance type.
func offering(region, instanceType string) []string {
	return slices.DeleteFunc(zones(region), func(zone string) bool { return !offers(zone, instanceType) })
}

// checkZone refuses a launch in a zone that lacks the instance type.
func checkZone(region, zone, instanceType string) error {
	others := offering(region, instanceType)
	switch {
	case slices.Contains(others, zone):
		return nil
	case len(others) == 0:
		return invalidParameter("Invalid value '%s' for InstanceType.", instanceType)
	}
	return apiError("Unsupported",
		"Your requested instance type (%s) is not supported in your requested Availability Zone (%s). "+
			"Please retry your request by not specifying an Availability Zone or choosing %s.",
		instanceType, zone, strings.Join(others, ", "))
}

// getInstanceTypeOfferings answers in the zones' reverse order: EC2 promises none.
func getInstanceTypeOfferings(op *operation, arguments store.Record) (store.Record, error) {
	filters, kind := arguments.Objects("filters"), arguments.Text("locationType")
	if kind != "availability-zone" || len(filters) != 1 || filters[0].Text("name") != "instance-type" {
		return nil, fmt.Errorf("localcloud lists the zones of named instance types only: " +
			`write locationType "availability-zone" and one filter "instance-type"`)
	}
	types, locations, kinds := []any{}, []any{}, []any{}
	for _, instanceType := range filters[0].Texts("values") {
		if strings.ContainsAny(instanceType, "*?") {
			return nil, fmt.Errorf("localcloud does not support wildcards in the filter instance-type: %q", instanceType)
		}
		for _, zone := range slices.Backward(offering(op.region, instanceType)) {
			types, locations, kinds = append(types, instanceType), append(locations, zone), append(kinds, kind)
		}
	}
	return store.Record{
		"id": op.region, "filters": arguments["filters"], "locationType": kind,
		"instanceTypes": types, "locations": locations, "locationTypes": kinds,
	}, nil
}
