package schema

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/smithy-go"
)

// Obeyed returns AWS's error for the first value of a record that breaks its rule.
func (t *Type) Obeyed(record map[string]any) error {
	return obeyed("", record, &Property{Properties: t.Inputs})
}

func obeyed(path string, value any, schema *Property) error {
	if rule := schema.Rule; rule != nil && value != nil && !rule.allows(value) {
		return &smithy.GenericAPIError{
			Code: rule.Code, Message: fmt.Sprintf("%s is %v: %s", path, value, rule.Message), Fault: smithy.FaultClient,
		}
	}
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			if err := obeyed(join(path, name), value[name], schema.Properties[name]); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range value {
			if err := obeyed(fmt.Sprintf("%s[%d]", path, i), item, schema.Items); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r Rule) allows(value any) bool {
	size, matches := 0, true
	switch value := value.(type) {
	case float64:
		size = int(value)
	case string:
		size, matches = len(value), regexp.MustCompile(r.Pattern).MatchString(value)
	case []any:
		size = len(value)
	}
	return matches && size >= r.Min && (r.Max == 0 || size <= r.Max)
}
