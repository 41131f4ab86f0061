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

// config is what the aws provider is configured with.
type config struct {
	region      string
	defaultTags map[string]string
	// skipCredentialsValidation leaves it to the first operation to refuse
	// credentials that nobody has.
	skipCredentialsValidation bool
}

// configTypes are the configuration keys that localcloud knows, with their
// types. The other skip flags change nothing here.
func configTypes() map[string]string {
	return map[string]string{
		"region":                    "string",
		"defaultTags":               "object",
		"allowedAccountIds":         "array",
		"skipCredentialsValidation": "boolean",
		"skipMetadataApiCheck":      "boolean",
		"skipRegionValidation":      "boolean",
		"skipRequestingAccountId":   "boolean",
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
	for name := range configTypes() {
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
	if !c.skipCredentialsValidation {
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
	types := configTypes()
	values := map[string]property.Value{}
	for name, v := range inputs.AllStable {
		kind, known := types[name]
		switch {
		case strings.HasPrefix(name, "__"), name == "version", name == "pluginDownloadURL", v.IsNull(), v.IsComputed():
			// What the engine adds, and what is not there yet.
		case !known:
			fail(name, "localcloud does not support the configuration key aws:%s; it supports %s",
				name, strings.Join(slices.Sorted(maps.Keys(types)), ", "))
		default:
			value, err := configValue(v, kind)
			if err != nil {
				fail(name, "the configuration key aws:%s must be of type %s: %s", name, kind, err)
				continue
			}
			values[name] = value
		}
	}

	c := config{defaultTags: map[string]string{}}
	if v := values["region"]; v.IsString() {
		c.region = v.AsString()
	}
	switch {
	case c.region == "" && inputs.Get("region").IsComputed():
	case c.region == "":
		fail("region", "no AWS region: run `pulumi config set aws:region us-east-1`")
	case !regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[1-9]$`).MatchString(c.region):
		fail("region", "%q is not an AWS region; write one such as us-east-1", c.region)
	}
	if v := values["skipCredentialsValidation"]; v.IsBool() {
		c.skipCredentialsValidation = v.AsBool()
	}
	if v := values["allowedAccountIds"]; v.IsArray() && v.AsArray().Len() > 0 {
		allowed := false
		for _, id := range v.AsArray().All {
			allowed = allowed || (id.IsString() && id.AsString() == accountID)
		}
		if !allowed {
			fail("allowedAccountIds", "AWS account id not allowed: localcloud's is %s", accountID)
		}
	}
	if v := values["defaultTags"]; v.IsMap() {
		for name, tags := range v.AsMap().AllStable {
			if name != "tags" || !tags.IsMap() {
				fail("defaultTags", `aws:defaultTags must have the form {"tags": {"NAME": "VALUE"}}`)
				continue
			}
			for key, tag := range tags.AsMap().AllStable {
				if !tag.IsString() {
					fail("defaultTags", "the tag %q in aws:defaultTags must be a string", key)
					continue
				}
				c.defaultTags[key] = tag.AsString()
			}
		}
	}
	return c, failures
}

// configValue decodes a configuration value. Values of a stack's configuration
// that are not strings arrive as JSON text.
func configValue(v property.Value, kind string) (property.Value, error) {
	if v.IsString() && kind != "string" {
		var decoded any
		if err := json.Unmarshal([]byte(v.AsString()), &decoded); err != nil {
			return property.Value{}, fmt.Errorf("%q is not JSON", v.AsString())
		}
		v = schema.Value(decoded)
	}
	ok := map[string]bool{"string": v.IsString(), "boolean": v.IsBool(), "array": v.IsArray(), "object": v.IsMap()}[kind]
	if !ok {
		return property.Value{}, fmt.Errorf("it is not")
	}
	return v, nil
}

// tag adds the default tags to those of a taggable resource, which win.
func (c *config) tag(t *schema.Type, inputs property.Map) property.Map {
	if _, taggable := t.Inputs["tags"]; !taggable || len(c.defaultTags) == 0 {
		return inputs
	}
	tags := inputs.Get("tags")
	merged := map[string]property.Value{}
	for name, value := range c.defaultTags {
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
