package schema

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// defaultsKey is the key of the checked inputs that lists the properties whose values the provider generated, as
// in the Terraform bridge.
const defaultsKey = "__defaults"

// Check validates a program's inputs, fills in defaults and generated names, and returns every problem that it
// finds. It accepts unknown values, which are checked again when they are known. It keeps a generated name from
// oldInputs.
func (t *Type) Check(name string, oldInputs, inputs property.Map) (property.Map, []p.CheckFailure) {
	c := checker{token: t.Token}
	checked := c.object("", inputs, t.Inputs, t.Unsupported, t.Hints)
	return t.autoname(name, oldInputs, checked, &c), c.failures
}

func (t *Type) autoname(name string, oldInputs, inputs property.Map, c *checker) property.Map {
	auto := t.Autoname
	if auto == nil || has(inputs, auto.Property) || has(inputs, auto.PrefixProperty) {
		return inputs
	}
	generated := oldInputs.Get(auto.Property)
	if !isDefaulted(oldInputs, auto.Property) || !generated.IsString() {
		suffix := make([]byte, 4)
		_, _ = rand.Read(suffix) // crypto/rand never returns an error; it crashes the program instead
		text := name + "-" + hex.EncodeToString(suffix)[:7]
		if auto.Lowercase {
			text = strings.ToLower(text)
		}
		if len(text) > auto.MaxLength {
			c.fail(auto.Property,
				"the generated name %q is longer than %d characters: give the resource a shorter name, or set %s",
				text, auto.MaxLength, auto.Property)
		}
		generated = property.New(text)
	}
	defaults := property.New([]property.Value{property.New(auto.Property)})
	return inputs.Set(auto.Property, generated).Set(defaultsKey, defaults)
}

func isDefaulted(inputs property.Map, name string) bool {
	defaults, _ := JSON(inputs.Get(defaultsKey)).([]any)
	return slices.Contains(defaults, any(name))
}

type checker struct {
	token    string
	failures []p.CheckFailure
}

func (c *checker) fail(path, format string, args ...any) {
	c.failures = append(c.failures, p.CheckFailure{Property: path, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) object(
	path string, value property.Map, properties map[string]*Property, unsupported []string, hints map[string]string,
) property.Map {
	checked := map[string]property.Value{}
	for name, v := range value.AllStable {
		at := join(path, name)
		schema, known := properties[name]
		switch {
		case strings.HasPrefix(name, "__") || v.IsNull():
		case known:
			checked[name] = c.value(at, v, schema)
		case slices.Contains(unsupported, name):
			reason := fmt.Sprintf("localcloud does not support property %q of %s", at, c.token)
			if hint := hints[name]; hint != "" {
				reason += ": " + hint
			}
			c.fail(at, "%s", reason)
		default:
			c.fail(at, "unknown property %q of %s; valid properties: %s",
				at, c.token, strings.Join(slices.Sorted(maps.Keys(properties)), ", "))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		schema := properties[name]
		if _, given := checked[name]; !given {
			if schema.Required {
				c.fail(join(path, name), "missing required property %q of %s", join(path, name), c.token)
			}
			if schema.Default != nil {
				checked[name] = Value(schema.Default)
			}
			continue
		}
		for _, other := range schema.ConflictsWith {
			if _, both := checked[other]; both && name < other {
				c.fail(join(path, name), "%q conflicts with %q: set only one of them", join(path, name), join(path, other))
			}
		}
	}
	return property.NewMap(checked)
}

func (c *checker) value(path string, v property.Value, schema *Property) property.Value {
	v = coerce(v, schema)
	if v.IsComputed() || !c.checkType(path, v, schema) {
		return v
	}
	switch schema.Type {
	case "object":
		return property.WithGoValue(v, c.object(path, v.AsMap(), schema.Properties, schema.Unsupported, nil))
	case "array", "set":
		items := make([]property.Value, 0, v.AsArray().Len())
		for i, item := range v.AsArray().All {
			items = append(items, c.value(fmt.Sprintf("%s[%d]", path, i), item, schema.Items))
		}
		return property.WithGoValue(v, property.NewArray(items))
	case "map":
		for key, item := range v.AsMap().AllStable {
			if !item.IsString() && !item.IsComputed() {
				c.fail(join(path, key), "expected a string, got %s", typeName(item))
			}
		}
	}
	if schema.MaxLength > 0 && v.IsString() && len(v.AsString()) > schema.MaxLength {
		c.fail(path, "expected length of %s to be in the range (0 - %d), got %s", path, schema.MaxLength, v.AsString())
	}
	if len(schema.Values) > 0 && !slices.Contains(schema.Values, JSON(v)) {
		valid, _ := json.Marshal(schema.Values) // cannot fail: the values came from JSON
		c.fail(path, "localcloud does not support this value of property %q of %s; write one of %s", path, c.token, valid)
	}
	return v
}

func (c *checker) checkType(path string, v property.Value, schema *Property) bool {
	expected := map[string]string{
		"string": "a string", "boolean": "a boolean", "integer": "a number", "map": "an object", "object": "an object",
		"array": "a list", "set": "a list",
	}[schema.Type]
	ok := typeName(v) == expected && (schema.Type != "integer" || v.AsNumber() == math.Trunc(v.AsNumber()))
	if !ok {
		c.fail(path, "property %q of %s: expected %s, got %s", path, c.token, schema.Type, typeName(v))
	}
	return ok
}

// coerce converts the values that the bridge accepts in place of a string: a resource instead of its id, and an
// object instead of a JSON document.
func coerce(v property.Value, schema *Property) property.Value {
	switch {
	case schema.Type == "string" && v.IsResourceReference():
		ref := v.AsResourceReference()
		if id, known := ref.IDString(); known {
			return property.WithGoValue(v, id)
		}
		return property.WithGoValue(v, property.Computed)
	case schema.Compare == "json" && v.IsMap():
		if v.HasComputed() {
			return property.WithGoValue(v, property.Computed).WithSecret(v.HasSecrets())
		}
		document, _ := json.Marshal(JSON(v)) // cannot fail: JSON returns only JSON types
		return property.WithGoValue(v, string(document)).WithSecret(v.HasSecrets())
	}
	return v
}

func has(m property.Map, name string) bool {
	v, ok := m.GetOk(name)
	return ok && !v.IsNull()
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func typeName(v property.Value) string {
	switch {
	case v.IsString():
		return "a string"
	case v.IsNumber():
		return "a number"
	case v.IsBool():
		return "a boolean"
	case v.IsArray():
		return "a list"
	case v.IsMap():
		return "an object"
	case v.IsAsset(), v.IsArchive():
		return "an asset"
	case v.IsResourceReference():
		return "a resource"
	default:
		return "null"
	}
}

// Obeyed returns AWS's error for the first value of a record that violates its rule.
func (t *Type) Obeyed(record map[string]any) error {
	return checkRules("", record, &Property{Properties: t.Inputs})
}

func checkRules(path string, value any, schema *Property) error {
	if code, message := schema.Rule.violation(value); message != "" {
		return &smithy.GenericAPIError{
			Code: code, Message: fmt.Sprintf("%s is %v: %s", path, value, message), Fault: smithy.FaultClient,
		}
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			if err := checkRules(join(path, name), value[name], schema.Properties[name]); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range value {
			if err := checkRules(fmt.Sprintf("%s[%d]", path, i), item, schema.Items); err != nil {
				return err
			}
		}
	}
	return nil
}

// violation returns AWS's error code and a message that describes the valid values, or "" if the value is valid.
func (r *Rule) violation(value any) (code, message string) {
	if r == nil || value == nil {
		return "", ""
	}
	size, matches := 0, true
	switch value := value.(type) {
	case float64:
		size = int(value)
	case string:
		size, matches = len(value), regexp.MustCompile(r.Pattern).MatchString(value)
	case []any:
		size = len(value)
	}
	if r.CIDR {
		block, err := netip.ParsePrefix(fmt.Sprint(value))
		if err != nil || !block.Addr().Is4() {
			return "InvalidParameterValue", "not an IPv4 CIDR block; write one such as 10.0.0.0/16"
		}
		if block != block.Masked() {
			return "InvalidParameterValue", fmt.Sprintf("the CIDR block has host bits set; write %s", block.Masked())
		}
		size = block.Bits()
	}
	if matches && size >= r.Min && (r.Max == 0 || size <= r.Max) {
		return "", ""
	}
	return r.Code, r.Message
}
