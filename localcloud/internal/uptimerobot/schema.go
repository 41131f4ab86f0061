package uptimerobot

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
	errorkind "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed api.json
var apiSchemas []byte

// schemas holds the JSON schemas of the request bodies that update and create an object.
type schemas struct{ update, create *jsonschema.Schema }

func compileSchemas(kind string) (compiled schemas, err error) {
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.RegisterFormat(&jsonschema.Format{Name: "URL address", Validate: isWebURL})
	compiler.RegisterFormat(&jsonschema.Format{Name: "json string", Validate: isJSON})
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(apiSchemas))
	if err == nil {
		err = compiler.AddResource("api.json", document)
	}
	if err == nil {
		compiled.update, err = compiler.Compile("api.json#/$defs/" + kind)
	}
	if err == nil {
		compiled.create, err = compiler.Compile("api.json#/$defs/new-" + kind)
	}
	return compiled, err
}

func isWebURL(value any) error {
	text, _ := value.(string)
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
		return errors.New("not a URL")
	}
	return nil
}

func isJSON(value any) error {
	if text, ok := value.(string); !ok || !json.Valid([]byte(text)) {
		return errors.New("not JSON")
	}
	return nil
}

// validate checks a request body against schema and reports all violations in the API's own wording.
func validate(body any, schema *jsonschema.Schema) error {
	err := schema.Validate(body)
	violation, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err
	}
	messages := violationMessages(violation)
	slices.Sort(messages)
	return badRequest(messages...)
}

func violationMessages(violation *jsonschema.ValidationError) (messages []string) {
	name := ""
	for _, part := range violation.InstanceLocation {
		if _, err := strconv.Atoi(part); err != nil { // skip array indexes
			name = part
		}
	}
	add := func(format string, values ...any) { messages = append(messages, fmt.Sprintf(format, values...)) }
	switch kind := violation.ErrorKind.(type) {
	case *errorkind.Required:
		for _, missing := range kind.Missing {
			add("%s should not be empty", missing)
		}
	case *errorkind.AdditionalProperties:
		for _, unknown := range kind.Properties {
			add("property %s should not exist", unknown)
		}
	case *errorkind.Type:
		add("%s must be %s", name, map[string]string{
			"string": "a string", "integer": "an integer number", "boolean": "a boolean value",
			"array": "an array", "object": "an object",
		}[kind.Want[0]])
	case *errorkind.MinLength:
		add("%s should not be empty", name)
	case *errorkind.MaxLength:
		add("%s must be shorter than or equal to %d characters", name, kind.Want)
	case *errorkind.Minimum:
		add("%s must not be less than %s", name, kind.Want.RatString())
	case *errorkind.Maximum:
		add("%s must not be greater than %s", name, kind.Want.RatString())
	case *errorkind.Enum:
		add("%s must be one of the following values: %v", name, kind.Want)
	case *errorkind.Format:
		add("%s must be a %s", name, kind.Want)
	}
	for _, cause := range violation.Causes {
		messages = append(messages, violationMessages(cause)...)
	}
	return messages
}
