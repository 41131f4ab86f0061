package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// Diff compares two sets of checked inputs. state has the outputs that the provider returned last: it is not a
// change if the program starts to set a computed property to the value that it already has.
//
// A replacement deletes the old resource first only if the program sets the resource's name, since two resources
// cannot have the same name.
func (t *Type) Diff(oldInputs, newInputs, state property.Map) p.DiffResponse {
	d := differ{changes: map[string]p.PropertyDiff{}, inputs: newInputs}
	d.object("", oldInputs, newInputs, state, t.Inputs, false)

	fixedName := t.Autoname != nil && has(newInputs, t.Autoname.Property) && !isDefaulted(newInputs, t.Autoname.Property)
	return p.DiffResponse{
		HasChanges:          len(d.changes) > 0,
		DetailedDiff:        d.changes,
		DeleteBeforeReplace: d.replaces && fixedName,
	}
}

type differ struct {
	changes  map[string]p.PropertyDiff
	replaces bool // one of the changes replaces the resource
	inputs   property.Map
}

func (d *differ) object(
	path string, oldMap, newMap, state property.Map, properties map[string]*Property, replace bool,
) {
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		d.value(join(path, name), oldMap.Get(name), newMap.Get(name), state.Get(name), properties[name], replace)
	}
}

func (d *differ) value(path string, oldValue, newValue, state property.Value, schema *Property, replace bool) {
	replace = replace || schema.ForceNew || d.flag(schema.ForceNewIf)

	if newValue.IsNull() {
		if !oldValue.IsNull() && !schema.Computed {
			d.add(path, p.Delete, replace)
		}
		return
	}
	if schema.Type == "object" && newValue.IsMap() && (oldValue.IsNull() || oldValue.IsMap()) {
		before := len(d.changes)
		d.object(path, mapOf(oldValue), newValue.AsMap(), mapOf(state), schema.Properties, replace)
		if oldValue.IsNull() && len(d.changes) == before && !schema.Computed {
			d.add(path, p.Add, replace)
		}
		return
	}
	if schema.Type == "map" && newValue.IsMap() && oldValue.IsMap() {
		entries := map[string]*Property{}
		for _, m := range []property.Map{oldValue.AsMap(), newValue.AsMap()} {
			for key := range m.All {
				entries[key] = &Property{Type: "string"}
			}
		}
		d.object(path, oldValue.AsMap(), newValue.AsMap(), mapOf(state), entries, replace)
		return
	}
	if oldValue.IsNull() {
		if !schema.Computed || schema.Hashed || !equal(state, newValue, schema) {
			d.add(path, p.Add, replace)
		}
		return
	}
	if schema.Type == "array" && newValue.IsArray() && oldValue.IsArray() &&
		newValue.AsArray().Len() == oldValue.AsArray().Len() {
		for i, item := range newValue.AsArray().All {
			at := fmt.Sprintf("%s[%d]", path, i)
			stateItem := property.Value{}
			if state.IsArray() && i < state.AsArray().Len() {
				stateItem = state.AsArray().Get(i)
			}
			d.value(at, oldValue.AsArray().Get(i), item, stateItem, schema.Items, replace)
		}
		return
	}
	if !equal(oldValue, newValue, schema) {
		// If an instance type is still unknown, plan an update in place.
		otherArchitecture := schema.Architecture && oldValue.IsString() && newValue.IsString() &&
			Architecture(oldValue.AsString()) != Architecture(newValue.AsString())
		d.add(path, p.Update, replace || otherArchitecture)
	}
}

func (d *differ) add(path string, kind p.DiffKind, replace bool) {
	if replace {
		kind, d.replaces = kind+"&replace", true
	}
	d.changes[path] = p.PropertyDiff{Kind: kind, InputDiff: true}
}

func (d *differ) flag(name string) bool {
	v := d.inputs.Get(name)
	return name != "" && v.IsBool() && v.AsBool()
}

func mapOf(v property.Value) property.Map {
	if v.IsMap() {
		return v.AsMap()
	}
	return property.Map{}
}

// equal reports whether two values of a property are equivalent on AWS. An unknown value equals no other value.
func equal(a, b property.Value, schema *Property) bool {
	if a.HasComputed() || b.HasComputed() {
		return false
	}
	return reflect.DeepEqual(normalize(JSON(a), schema), normalize(JSON(b), schema))
}

// normalize returns the same value for all values that are equivalent on AWS.
func normalize(v any, schema *Property) any {
	text, isText := v.(string)
	switch {
	case schema.Type == "set":
		return sorted(v)
	case !isText:
		return v
	case schema.Compare == "domain":
		return NormalDomain(text)
	case schema.Compare == "issuer":
		return strings.TrimPrefix(text, "https://")
	}
	var document any
	if schema.Compare == "json" && json.Unmarshal([]byte(text), &document) == nil {
		return document
	}
	return v
}

// sorted returns the distinct elements of a set as sorted JSON texts.
func sorted(v any) []string {
	items, ok := v.([]any)
	if !ok {
		return nil
	}
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, _ := json.Marshal(item) // cannot fail: the item has a JSON type
		texts = append(texts, string(text))
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// NormalDomain returns a domain name in lower case and without the trailing dot, as Route 53 stores it.
func NormalDomain(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// Architecture returns the architecture of an EC2 instance type, as it is named in AMIs.
func Architecture(instanceType string) string {
	// Families with a g after the generation use Graviton: t4g, m7gd.
	if regexp.MustCompile(`^[a-z]+[0-9]+g[a-z]*\.`).MatchString(instanceType) {
		return "arm64"
	}
	return "x86_64"
}
