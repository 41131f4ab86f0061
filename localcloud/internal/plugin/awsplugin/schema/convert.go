package schema

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// Decode fills the struct that target points to from inputs, by the struct's
// JSON names. An input that the struct has no field for is an error.
func Decode(inputs property.Map, target any) error {
	document, err := json.Marshal(toJSON(property.New(inputs.Delete(DefaultsKey))))
	if err != nil {
		return fmt.Errorf("encode inputs: %w", err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(document)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		return fmt.Errorf("decode inputs: %w", err)
	}
	return nil
}

// Encode turns a struct into properties, by the struct's JSON names.
func Encode(source any) (property.Map, error) {
	document, err := json.Marshal(source)
	if err != nil {
		return property.Map{}, fmt.Errorf("encode outputs: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(document, &fields); err != nil {
		return property.Map{}, fmt.Errorf("encode outputs: %w", err)
	}
	return fromJSON(fields).AsMap(), nil
}

func fromJSON(v any) property.Value {
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
			items[i] = fromJSON(item)
		}
		return property.New(items)
	case map[string]any:
		fields := make(map[string]property.Value, len(v))
		for key, item := range v {
			fields[key] = fromJSON(item)
		}
		return property.New(fields)
	default:
		return property.Value{}
	}
}

// toJSON drops what JSON has no word for: secretness, and unknown values, which become null.
func toJSON(v property.Value) any {
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
			items = append(items, toJSON(item))
		}
		return items
	case v.IsMap():
		fields := map[string]any{}
		for key, item := range v.AsMap().All {
			fields[key] = toJSON(item)
		}
		return fields
	default:
		return nil
	}
}
