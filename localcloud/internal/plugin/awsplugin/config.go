package awsplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
)

type config struct {
	Region            string
	AllowedAccountIDs []string
	DefaultTags       struct{ Tags map[string]string }
	// SkipCredentialsValidation leaves it to the first operation to refuse
	// unknown credentials.
	SkipCredentialsValidation bool
	// The other flags change nothing here.
	SkipMetadataAPICheck, SkipRegionValidation, SkipRequestingAccountID bool
}

// configKeys are the configuration keys that localcloud knows, with what they must be.
func configKeys() map[string]string {
	return map[string]string{
		"region":                    "of type string",
		"defaultTags":               `an object: it must have the form {"tags": {"NAME": "VALUE"}}`,
		"allowedAccountIds":         "a list of strings",
		"skipCredentialsValidation": "of type boolean",
		"skipMetadataApiCheck":      "of type boolean",
		"skipRegionValidation":      "of type boolean",
		"skipRequestingAccountId":   "of type boolean",
	}
}

func (pl *plugin) checkConfig(_ context.Context, request p.CheckRequest) (p.CheckResponse, error) {
	inputs := request.Inputs
	if region := inputs.Get("region"); region.IsNull() {
		for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
			if value := os.Getenv(name); value != "" {
				inputs = inputs.Set("region", property.New(value))
				break
			}
		}
	}
	_, failures := readConfig(inputs)
	return p.CheckResponse{Inputs: inputs, Failures: failures}, nil
}

func (pl *plugin) diffConfig(_ context.Context, request p.DiffRequest) (p.DiffResponse, error) {
	changes := map[string]p.PropertyDiff{}
	for name := range configKeys() {
		before, after := request.OldInputs.Get(name), request.Inputs.Get(name)
		if before.Equals(after) {
			continue
		}
		kind := p.Update
		if name == "region" {
			kind = p.UpdateReplace
		}
		changes[name] = p.PropertyDiff{Kind: kind, InputDiff: true}
	}
	return p.DiffResponse{HasChanges: len(changes) > 0, DetailedDiff: changes}, nil
}

func (pl *plugin) configure(_ context.Context, request p.ConfigureRequest) error {
	c, failures := readConfig(request.Args)
	if len(failures) > 0 {
		reasons := make([]string, len(failures))
		for i, f := range failures {
			reasons[i] = f.Reason
		}
		return fmt.Errorf("configure the aws provider: %s", strings.Join(reasons, "; "))
	}
	if !c.SkipCredentialsValidation {
		state, err := pl.store.Read()
		if err != nil {
			return err
		}
		if _, err := pl.identify(state); err != nil {
			return fmt.Errorf("configure the aws provider: validate the credentials: %w", err)
		}
	}
	pl.config.Store(&c)
	return nil
}

// readConfig reads the configuration and returns all that is wrong with it.
func readConfig(inputs property.Map) (config, []p.CheckFailure) {
	var failures []p.CheckFailure
	fail := func(key, format string, args ...any) {
		failures = append(failures, p.CheckFailure{Property: key, Reason: fmt.Sprintf(format, args...)})
	}
	var c config
	keys := configKeys()
	for name, v := range inputs.AllStable {
		form, known := keys[name]
		switch {
		case strings.HasPrefix(name, "__"), name == "version", name == "pluginDownloadURL", v.IsNull(), v.IsComputed():
			// The engine adds them, or they are not known yet.
		case !known:
			fail(name, "localcloud does not support the configuration key aws:%s; it supports %s",
				name, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		default:
			if err := c.read(name, v); err != nil {
				fail(name, "the configuration key aws:%s must be %s: %s", name, form, err)
			}
		}
	}
	switch {
	case c.Region == "" && inputs.Get("region").IsComputed():
	case c.Region == "":
		fail("region", "no AWS region: run `pulumi config set aws:region us-east-1`")
	case !regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[1-9]$`).MatchString(c.Region):
		fail("region", "%q is not an AWS region; write one such as us-east-1", c.Region)
	}
	if len(c.AllowedAccountIDs) > 0 && !slices.Contains(c.AllowedAccountIDs, accountID) {
		fail("allowedAccountIds", "AWS account id not allowed: localcloud's is %s", accountID)
	}
	return c, failures
}

// read reads one value. Those of a stack's configuration that are not strings arrive
// as JSON text.
func (c *config) read(name string, v property.Value) error {
	value, err := json.Marshal(schema.JSON(v))
	if v.IsString() && name != "region" {
		value = []byte(v.AsString())
	}
	if err != nil || !json.Valid(value) {
		return fmt.Errorf("%s is not JSON", value)
	}
	decoder := json.NewDecoder(strings.NewReader(fmt.Sprintf("{%q: %s}", name, value)))
	decoder.DisallowUnknownFields()
	return decoder.Decode(c)
}

// tag adds the default tags to those of a taggable resource, which win.
func (c *config) tag(t *schema.Type, inputs property.Map) property.Map {
	if _, taggable := t.Inputs["tags"]; !taggable || len(c.DefaultTags.Tags) == 0 {
		return inputs
	}
	tags := inputs.Get("tags")
	merged := map[string]property.Value{}
	for name, value := range c.DefaultTags.Tags {
		merged[name] = property.New(value)
	}
	switch {
	case tags.IsMap():
		maps.Copy(merged, tags.AsMap().AsMap())
	case !tags.IsNull():
		// Unknown, or of the wrong type, which Check will say.
		return inputs
	}
	return inputs.Set("tags", property.WithGoValue(tags, merged))
}
