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
	is "github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed api.json
var apiSchemas []byte

// schemas are the JSON schemas of the bodies that change the objects of a kind, and that make one.
type schemas struct{ change, create *jsonschema.Schema }

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
		compiled.change, err = compiler.Compile("api.json#/$defs/" + kind)
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
		return errors.New("no web address")
	}
	return nil
}

func isJSON(value any) error {
	if text, ok := value.(string); !ok || !json.Valid([]byte(text)) {
		return errors.New("no JSON")
	}
	return nil
}

// check finds everything that is wrong with a request, in the words of the API's own validation.
func check(body any, wanted *jsonschema.Schema) error {
	err := wanted.Validate(body)
	found, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err
	}
	messages := problems(found)
	slices.Sort(messages)
	return invalid(messages...)
}

func problems(found *jsonschema.ValidationError) (messages []string) {
	name := ""
	for _, part := range found.InstanceLocation {
		if _, err := strconv.Atoi(part); err != nil { // else it is the number of an element
			name = part
		}
	}
	add := func(format string, values ...any) { messages = append(messages, fmt.Sprintf(format, values...)) }
	switch problem := found.ErrorKind.(type) {
	case *is.Required:
		for _, missing := range problem.Missing {
			add("%s should not be empty", missing)
		}
	case *is.AdditionalProperties:
		for _, unknown := range problem.Properties {
			add("property %s should not exist", unknown)
		}
	case *is.Type:
		add("%s must be %s", name, map[string]string{
			"string": "a string", "integer": "an integer number", "boolean": "a boolean value",
			"array": "an array", "object": "an object",
		}[problem.Want[0]])
	case *is.MinLength:
		add("%s should not be empty", name)
	case *is.MaxLength:
		add("%s must be shorter than or equal to %d characters", name, problem.Want)
	case *is.Minimum:
		add("%s must not be less than %s", name, problem.Want.RatString())
	case *is.Maximum:
		add("%s must not be greater than %s", name, problem.Want.RatString())
	case *is.Enum:
		add("%s must be one of the following values: %v", name, problem.Want)
	case *is.Format:
		add("%s must be a %s", name, problem.Want)
	}
	for _, cause := range found.Causes {
		messages = append(messages, problems(cause)...)
	}
	return messages
}
