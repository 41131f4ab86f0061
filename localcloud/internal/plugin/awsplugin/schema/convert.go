package schema

import (
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

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
