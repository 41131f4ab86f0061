package schema

import (
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// Value returns a property with a value in JSON's form.
func Value(v any) property.Value {
	switch v := v.(type) {
	case bool:
		return property.New(v)
	case float64:
		return property.New(v)
	case string:
		return property.New(v)
	case []any:
		items := make([]property.Value, len(v))
		for i, item := range v {
			items[i] = Value(item)
		}
		return property.New(items)
	case map[string]any:
		fields := make(map[string]property.Value, len(v))
		for key, item := range v {
			fields[key] = Value(item)
		}
		return property.New(fields)
	default:
		return property.Value{}
	}
}

// JSON returns a value in JSON's form. It drops what JSON has no word for: secretness,
// and unknown values, which become null.
func JSON(v property.Value) any {
	switch {
	case v.IsBool():
		return v.AsBool()
	case v.IsNumber():
		return v.AsNumber()
	case v.IsString():
		return v.AsString()
	case v.IsArray():
		items := []any{}
		for _, item := range v.AsArray().All {
			items = append(items, JSON(item))
		}
		return items
	case v.IsMap():
		fields := map[string]any{}
		for key, item := range v.AsMap().All {
			fields[key] = JSON(item)
		}
		return fields
	default:
		return nil
	}
}
