package awsplugin

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

func (pl *plugin) checkConfig(_ context.Context, request p.CheckRequest) (p.CheckResponse, error) {
	_, failures := readRegion(request.Inputs)
	return p.CheckResponse{Inputs: request.Inputs, Failures: failures}, nil
}

func (pl *plugin) diffConfig(_ context.Context, request p.DiffRequest) (p.DiffResponse, error) {
	changes := map[string]p.PropertyDiff{}
	if !request.OldInputs.Get("region").Equals(request.Inputs.Get("region")) {
		changes["region"] = p.PropertyDiff{Kind: p.UpdateReplace, InputDiff: true}
	}
	return p.DiffResponse{HasChanges: len(changes) > 0, DetailedDiff: changes}, nil
}

func (pl *plugin) configure(_ context.Context, request p.ConfigureRequest) error {
	region, failures := readRegion(request.Args)
	if len(failures) > 0 {
		reasons := make([]string, len(failures))
		for i, f := range failures {
			reasons[i] = f.Reason
		}
		return fmt.Errorf("cannot configure the aws provider: %s", strings.Join(reasons, "; "))
	}
	state, err := pl.store.Read()
	if err != nil {
		return err
	}
	if _, err := pl.identify(state); err != nil {
		return fmt.Errorf("cannot configure the aws provider: cannot validate the credentials: %w", err)
	}
	pl.region.Store(&region)
	return nil
}

// readRegion returns the region, which is the only configuration key that localcloud supports, and all problems of
// the provider's configuration. The region is empty if it is not known yet.
func readRegion(inputs property.Map) (region string, failures []p.CheckFailure) {
	fail := func(key, format string, args ...any) {
		failures = append(failures, p.CheckFailure{Property: key, Reason: fmt.Sprintf(format, args...)})
	}
	for name, v := range inputs.AllStable {
		switch {
		case strings.HasPrefix(name, "__"), name == "version", name == "pluginDownloadURL", v.IsNull(), v.IsComputed():
			// Ignore keys that the engine adds and values that are not known yet.
		case name != "region":
			fail(name, "localcloud does not support the configuration key aws:%s; it supports region", name)
		case !v.IsString():
			fail(name, "the configuration key aws:region must be of type string")
		default:
			region = v.AsString()
		}
	}
	switch given := inputs.Get("region"); {
	case given.IsNull():
		fail("region", "no AWS region: run `pulumi config set aws:region us-east-1`")
	case given.IsString() && !regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[1-9]$`).MatchString(region):
		fail("region", "%q is not an AWS region; write one such as us-east-1", region)
	}
	return region, failures
}
