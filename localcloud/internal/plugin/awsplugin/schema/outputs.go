package schema

import (
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// PreviewCreate returns the outputs of a resource that is yet to be made:
// unknown where only AWS can say.
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

// updated sets what can change in place, and drops what is no longer given, unless AWS
// keeps it.
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

// WithAllTags adds tagsAll to the outputs of a taggable resource.
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

// Record returns what a new resource is stored as: its inputs in JSON's form, and what AWS shows
// where none is given.
func (t *Type) Record(inputs property.Map) map[string]any {
	record := Record(inputs)
	complete(record, t.Inputs)
	return record
}

func complete(fields map[string]any, properties map[string]*Property) {
	for name, schema := range properties {
		if given := fields[name]; schema.Shown != nil && (given == nil || given == "") {
			fields[name] = JSON(Value(schema.Shown)) // a copy
		}
		if object, ok := fields[name].(map[string]any); ok {
			complete(object, schema.Properties)
		}
	}
}

func Record(inputs property.Map) map[string]any {
	record := map[string]any{}
	for name, v := range inputs.All {
		if name != defaultsKey && !v.IsNull() {
			record[name] = JSON(v)
		}
	}
	return record
}

// MarkSecrets marks each output secret whose input of the same name holds a secret.
func MarkSecrets(outputs, inputs property.Map) property.Map {
	for name, input := range inputs.All {
		if output, ok := outputs.GetOk(name); ok && input.HasSecrets() {
			outputs = outputs.Set(name, output.WithSecret(true))
		}
	}
	return outputs
}

// Refresh returns the inputs that would describe what is really there: the
// given inputs, with the values that outputs show to have drifted. Without
// inputs, as in an import, every input that has a value is taken over.
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

// overlay keeps the form of an input where the output means the same.
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

// isEmpty reports whether a value says no more than its lack.
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

// Value returns a property with a value in JSON's form.
func Value(v any) property.Value {
	return resource.FromResourcePropertyValue(resource.NewPropertyValue(v))
}

// JSON returns a value in JSON's form. It drops what JSON has no word for: secretness,
// and unknown values, which become null.
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
