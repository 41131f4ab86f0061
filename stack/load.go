package stack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Load reads, completes and checks the configuration of the program's stack.
// Its error names every problem.
func Load(ctx *pulumi.Context) (*Config, error) {
	values := map[string]string{}
	for _, key := range append(Keys(), regionKey) {
		if value, ok := ctx.GetConfig(qualified(ctx.Project(), key)); ok {
			values[key] = value
		}
	}
	unknown, err := unknownKeys(ctx.Project(), os.Getenv(pulumi.EnvConfig))
	if err != nil {
		return nil, err
	}
	for _, key := range unknown {
		values[key] = ""
	}
	config, err := Parse(values)
	if plain := plainSecrets(values, func(key string) bool { return ctx.IsConfigSecret(qualified(ctx.Project(), key)) }); len(plain) > 0 {
		var problems Problems
		errors.As(err, &problems)
		err = append(problems, plain...)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration of stack %s: %w", ctx.Stack(), err)
	}
	return config, nil
}

// plainSecrets are the secrets that are not encrypted. Pulumi's own schema for a
// secret takes no default, and so no secret that may be left out.
func plainSecrets(values map[string]string, encrypted func(key string) bool) Problems {
	var problems Problems
	for _, key := range []string{"victorOpsKey", "grafanaGitHubSecret", "uptimeRobotKey", "uptimeRobotWebhook"} {
		if values[key] != "" && !encrypted(key) {
			problems = append(problems, Problem{key, fmt.Sprintf("is a secret, and not encrypted; write it with pulumi config set --secret %s, and take the plain one for known to others", key)})
		}
	}
	return problems
}

const regionKey = "aws:region"

// Keys lists the project's configuration keys.
func Keys() []string {
	var keys []string
	for _, field := range fields() {
		keys = append(keys, field.Tag.Get("config"))
	}
	return keys
}

// Problems is the error of a configuration: everything that is wrong with it.
type Problems []Problem

// Problem is one wrong key.
type Problem struct {
	Key string
	// Reason says what is wrong and what to write instead.
	Reason string
}

func (p Problems) Error() string {
	var text strings.Builder
	if len(p) == 1 {
		text.WriteString("1 problem")
	} else {
		fmt.Fprintf(&text, "%d problems", len(p))
	}
	for _, problem := range p {
		fmt.Fprintf(&text, "\n  %s: %s", problem.Key, problem.Reason)
	}
	return text.String()
}

// Parse makes a configuration of raw values, as Pulumi hands them over:
// strings as they are, lists and objects as JSON. A key that is missing has its
// default. The error is of type Problems.
func Parse(values map[string]string) (*Config, error) {
	config := Defaults()
	var problems Problems

	target := reflect.ValueOf(&config).Elem()
	known := []string{regionKey}
	for _, field := range fields() {
		key := field.Tag.Get("config")
		known = append(known, key)
		raw, ok := values[key]
		if !ok {
			continue
		}
		if err := set(target.FieldByIndex(field.Index), raw); err != nil {
			problems = append(problems, Problem{key, err.Error()})
		}
	}
	config.Region = values[regionKey]

	for key := range values {
		if !slices.Contains(known, key) {
			problems = append(problems, Problem{key, "there is no such key" + suggestion(key, known)})
		}
	}

	misread := problems.keys()
	for _, problem := range config.validate() {
		// A key that could not be read still has its default, which says
		// nothing about what was meant.
		if !slices.Contains(misread, problem.Key) {
			problems = append(problems, problem)
		}
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
		return nil, problems
	}
	return &config, nil
}

func (p Problems) keys() []string {
	var keys []string
	for _, problem := range p {
		keys = append(keys, problem.Key)
	}
	return keys
}

// fields are the fields of Config that have a key of the project's own.
func fields() []reflect.StructField {
	var fields []reflect.StructField
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if field.Tag.Get("config") != "" {
			fields = append(fields, field)
		}
	}
	return fields
}

func set(field reflect.Value, raw string) error {
	switch field.Interface().(type) {
	case string:
		field.SetString(raw)
	case int:
		number, err := strconv.Atoi(raw)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", raw)
		}
		field.SetInt(int64(number))
	case bool:
		switch raw {
		case "true":
			field.SetBool(true)
		case "false":
			field.SetBool(false)
		default:
			return fmt.Errorf("%q is neither true nor false", raw)
		}
	case []string:
		return decode(raw, field, `a list of strings, such as ["a", "b"]`)
	case []DNSRecord:
		return decode(raw, field, `a list such as [{"name": "example.org", "type": "MX", "ttl": 3600, "values": ["10 mail.example.org."]}]`)
	case []Admin:
		return decode(raw, field, `a list such as [{"name": "admin", "keys": ["ssh-ed25519 AAAA..."]}]`)
	default:
		return fmt.Errorf("keys of type %s cannot be read", field.Type())
	}
	return nil
}

func decode(raw string, field reflect.Value, form string) error {
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.DisallowUnknownFields()
	// A value of its own, so that a list that fails half-way leaves nothing behind.
	value := reflect.New(field.Type())
	if err := decoder.Decode(value.Interface()); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fmt.Errorf("%q is not %s", raw, form)
		}
		return fmt.Errorf("is not %s: %s", form, strings.TrimPrefix(err.Error(), "json: "))
	}
	field.Set(value.Elem())
	return nil
}

func qualified(project, key string) string {
	if strings.Contains(key, ":") {
		return key
	}
	return project + ":" + key
}

// unknownKeys lists the keys of the project's namespace that are set and mean
// nothing. encoded is the configuration as the engine hands it to the program;
// it is empty when the program was not started by the engine.
func unknownKeys(project, encoded string) ([]string, error) {
	if encoded == "" {
		return nil, nil
	}
	var all map[string]string
	if err := json.Unmarshal([]byte(encoded), &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", pulumi.EnvConfig, err)
	}
	keys := Keys()
	var unknown []string
	for qualified := range all {
		key, own := strings.CutPrefix(qualified, project+":")
		if own && !slices.Contains(keys, key) {
			unknown = append(unknown, key)
		}
	}
	return unknown, nil
}

// suggestion names the known key that a misspelt one was probably meant to be.
func suggestion(key string, known []string) string {
	for _, candidate := range known {
		if strings.EqualFold(strings.NewReplacer("-", "", "_", "").Replace(key), candidate) || distance(key, candidate) <= 2 {
			return fmt.Sprintf("; did you mean %s?", candidate)
		}
	}
	return "; see the list in Pulumi.yaml"
}

// distance is the Levenshtein distance of two keys.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
