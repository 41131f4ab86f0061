package schema

import (
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// PreviewCreate returns the outputs of a resource that does not exist yet. Values that only AWS can determine are
// unknown.
func (t *Type) PreviewCreate(inputs property.Map) property.Map {
	outputs := inputs.Delete(defaultsKey)
	for _, name := range t.Outputs {
		outputs = outputs.Set(name, property.New(property.Computed))
	}
	for name, schema := range t.Inputs {
		if schema.Computed && !has(outputs, name) {
			outputs = outputs.Set(name, property.New(property.Computed))
		}
	}
	return t.WithAllTags(outputs)
}

// PreviewUpdate returns the outputs of a resource after an update in place.
func (t *Type) PreviewUpdate(state, inputs property.Map) property.Map {
	return t.WithAllTags(updated(state, inputs, t.Inputs))
}

// Updated returns a record after an update in place.
func (t *Type) Updated(record map[string]any, inputs property.Map) map[string]any {
	return t.Record(updated(Value(record).AsMap(), inputs, t.Inputs))
}

// updated sets the properties that can change in place and removes those that the inputs no longer set, unless AWS
// keeps them.
func updated(state, inputs property.Map, properties map[string]*Property) property.Map {
	for name, schema := range properties {
		before, after := state.Get(name), inputs.Get(name)
		empty := after.IsNull() || after.IsString() && after.AsString() == ""
		switch {
		case schema.ForceNew, schema.Hashed, schema.Computed && empty:
		case schema.Type == "object" && before.IsMap() && after.IsMap():
			fields := updated(before.AsMap(), after.AsMap(), schema.Properties)
			state = state.Set(name, property.WithGoValue(after, fields))
		case !after.IsNull():
			state = state.Set(name, after)
		case schema.Type != "boolean":
			state = state.Delete(name)
		}
	}
	return state
}

// WithAllTags adds tagsAll to the outputs if the type has tags.
func (t *Type) WithAllTags(outputs property.Map) property.Map {
	if _, taggable := t.Inputs["tags"]; !taggable {
		return outputs
	}
	tags := outputs.Get("tags")
	if tags.IsNull() {
		tags = property.New(map[string]property.Value{})
	}
	return outputs.Set("tagsAll", tags)
}

// Record returns the stored form of a new resource: its inputs in JSON form, and the values that AWS returns for
// properties that are not set.
func (t *Type) Record(inputs property.Map) map[string]any {
	record := Record(inputs)
	fillIn(record, t.Inputs)
	return record
}

func fillIn(fields map[string]any, properties map[string]*Property) {
	for name, schema := range properties {
		if given := fields[name]; schema.Shown != nil && (given == nil || given == "") {
			fields[name] = JSON(Value(schema.Shown)) // a copy
		}
		if object, ok := fields[name].(map[string]any); ok {
			fillIn(object, schema.Properties)
		}
	}
}

// Record returns inputs in JSON form.
func Record(inputs property.Map) map[string]any {
	record := map[string]any{}
	for name, v := range inputs.All {
		if name != defaultsKey && !v.IsNull() {
			record[name] = JSON(v)
		}
	}
	return record
}

// MarkSecrets marks an output as secret if the input of the same name contains a secret.
func MarkSecrets(outputs, inputs property.Map) property.Map {
	for name, input := range inputs.All {
		if output, ok := outputs.GetOk(name); ok && input.HasSecrets() {
			outputs = outputs.Set(name, output.WithSecret(true))
		}
	}
	return outputs
}

// Refresh returns the inputs that describe the resource's actual state: the given inputs, updated with values from
// outputs that have drifted. If there are no inputs, as in an import, it takes all inputs that have a value from
// outputs.
func (t *Type) Refresh(inputs, outputs property.Map) property.Map {
	if inputs.Len() == 0 {
		for name, schema := range t.Inputs {
			if v, ok := outputs.GetOk(name); ok && !v.IsNull() && !schema.Hashed {
				inputs = inputs.Set(name, overlay(v, v, schema))
			}
		}
		return inputs
	}
	for name, schema := range t.Inputs {
		if input, given := inputs.GetOk(name); given && !schema.Hashed {
			inputs = inputs.Set(name, overlay(input, outputs.Get(name), schema))
		}
	}
	return inputs
}

// overlay returns the output, but keeps the form of the input where both are equivalent.
func overlay(input, output property.Value, schema *Property) property.Value {
	switch {
	case schema.Type == "object" && input.IsMap() && output.IsMap():
		fields := map[string]property.Value{}
		for name, v := range input.AsMap().All {
			if nested, known := schema.Properties[name]; known {
				fields[name] = overlay(v, output.AsMap().Get(name), nested)
			}
		}
		return property.WithGoValue(input, fields)
	case schema.Type == "array" && input.IsArray() && output.IsArray() && input.AsArray().Len() == output.AsArray().Len():
		items := make([]property.Value, 0, input.AsArray().Len())
		for i, v := range input.AsArray().All {
			items = append(items, overlay(v, output.AsArray().Get(i), schema.Items))
		}
		return property.WithGoValue(input, items)
	case output.IsNull() && isEmpty(input), equal(input, output, schema):
		return input
	default:
		return output.WithSecret(input.Secret())
	}
}

// isEmpty reports whether a value is equivalent to an unset one: null, an empty collection or another zero value.
func isEmpty(v property.Value) bool {
	switch plain := reflect.ValueOf(JSON(v)); plain.Kind() {
	case reflect.Invalid:
		return v.IsNull()
	case reflect.Slice, reflect.Map:
		return plain.Len() == 0
	default:
		return plain.IsZero()
	}
}

// Value returns the property value for a value in JSON form.
func Value(v any) property.Value {
	return resource.FromResourcePropertyValue(resource.NewPropertyValue(v))
}

// JSON returns a property value in JSON form. Secrets lose their mark, and unknown values become null, as JSON
// cannot represent them.
func JSON(v property.Value) any {
	return resource.ToResourcePropertyValue(v).MapRepl(nil, plain)
}

func plain(v resource.PropertyValue) (any, bool) {
	switch {
	case v.IsSecret():
		return v.SecretValue().Element.MapRepl(nil, plain), true
	case v.IsOutput():
		return v.OutputValue().Element.MapRepl(nil, plain), true
	}
	return nil, v.IsComputed() || v.IsAsset() || v.IsArchive() || v.IsResourceReference()
}
