package stack

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/server"
)

// Load reads, completes and validates the configuration of the program's stack, and applies the guards: see guard. Its
// error names every problem.
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
	config, err := parse(source{
		stack: ctx.Stack(), project: ctx.Project(), directory: cmp.Or(ctx.RootDirectory(), "."),
		encrypted: func(key string) bool { return ctx.IsConfigSecret(qualified(ctx.Project(), key)) },
	}, values)
	if err != nil {
		return nil, fmt.Errorf("configuration of stack %s: %w", ctx.Stack(), err)
	}
	return config, nil
}

const regionKey = "aws:region"

// Keys lists the project's configuration keys.
func Keys() []string {
	var keys []string
	for _, setting := range new(Config).settings() {
		keys = append(keys, setting.key)
	}
	return keys
}

// Parse reads a configuration from raw values, as Pulumi passes them to a program: strings as they are, lists and
// objects as JSON. Missing keys get their defaults. The error is of type Problems.
func Parse(values map[string]string) (*Config, error) {
	return parse(source{}, values)
}

func parse(from source, values map[string]string) (*Config, error) {
	v := &validator{source: from}
	config := v.read(values)
	misread := slices.Clone(v.problems)

	// The guards must see the paths of key files, which validate replaces by the files' lines.
	guards := &validator{source: from}
	if from.stack != "" {
		guards.guard(config)
	}
	if from.encrypted != nil {
		guards.plainSecrets(values)
	}

	v.validate(config)
	// A key that could not be read has its default value, whose problems do not count.
	problems := append(misread,
		slices.DeleteFunc(v.problems[len(misread):], func(p Problem) bool { return misread.names(p.Key) })...)
	problems = append(problems, guards.problems...)
	if len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	return config, nil
}

// read decodes raw values. A key that cannot be read gets its default.
func (v *validator) read(values map[string]string) *Config {
	config := Defaults()
	config.Region = values[regionKey]
	known := []string{regionKey}
	for _, setting := range config.settings() {
		known = append(known, setting.key)
		if raw, ok := values[setting.key]; ok {
			v.assign(setting.key, setting.value, raw)
		}
	}
	for key := range values {
		if !slices.Contains(known, key) {
			v.add(key, "unknown key; "+suggestion(key, known), v.toRemove(key))
		}
	}
	return &config
}

// plainSecrets rejects secrets in plain text. Pulumi itself does so for keys with a declared type, but then also for
// keys that are not set.
func (v *validator) plainSecrets(values map[string]string) {
	for _, key := range Keys() {
		if isSecret(key) && values[key] != "" && !v.encrypted(key) {
			v.add(key, "is a secret in plain text; encrypt it, and rotate it if others could read it", v.toSet(key, ""))
		}
	}
}

// setting is a field of a configuration that has a key in the project's namespace.
type setting struct {
	key   string
	value reflect.Value
	// low and high are the bounds of a number, inclusive; both are 0 if there are none.
	low, high int
}

// settings lists the fields that have a key. Setting their values modifies the configuration.
func (c *Config) settings() []setting {
	var settings []setting
	for _, part := range []any{c, &c.secret} {
		value := reflect.ValueOf(part).Elem()
		for _, field := range reflect.VisibleFields(value.Type()) {
			key, ok := field.Tag.Lookup("config")
			if !ok {
				continue
			}
			s := setting{key: key, value: value.FieldByIndex(field.Index)}
			if limits := strings.Fields(field.Tag.Get("range")); len(limits) == 2 {
				s.low, _ = strconv.Atoi(limits[0])
				s.high, _ = strconv.Atoi(limits[1])
			}
			settings = append(settings, s)
		}
	}
	return settings
}

// isSecret reports whether the value of a key has to be encrypted.
func isSecret(key string) bool {
	return slices.ContainsFunc(reflect.VisibleFields(reflect.TypeFor[secrets]()), func(field reflect.StructField) bool {
		return key != "" && field.Tag.Get("config") == key
	})
}

// assign decodes a raw value into its field. Pulumi.yaml declares no types, because Pulumi would then report only one
// invalid key at a time, before it runs the program.
func (v *validator) assign(key string, field reflect.Value, raw string) {
	switch old := field.Interface().(type) {
	case string:
		if (strings.HasPrefix(raw, "[") || strings.HasPrefix(raw, "{")) && json.Valid([]byte(raw)) {
			v.add(key, "is a list or an object; write a string", v.toSet(key, examples(key, old)))
			return
		}
		field.SetString(raw)
	case int:
		number, err := strconv.Atoi(raw)
		if err != nil {
			v.add(key, v.redacted(key, raw)+" is not an integer; write one", v.toSet(key, strconv.Itoa(old)))
			return
		}
		field.SetInt(int64(number))
	case bool:
		if raw != "true" && raw != "false" {
			v.add(key, v.redacted(key, raw)+" is neither true nor false; write one of them",
				v.toSet(key, strconv.FormatBool(old)))
			return
		}
		field.SetBool(raw == "true")
	case []string:
		v.decode(key, field, raw, "a list of strings")
	case []DNSRecord:
		v.decode(key, field, raw, "a list of {name, type, ttl, values}")
	case []server.Admin:
		v.decode(key, field, raw, "a list of {name, keys}")
	default:
		v.add(key, fmt.Sprintf("cannot read values of type %s; report this bug", field.Type()))
	}
}

func (v *validator) decode(key string, field reflect.Value, raw, form string) {
	decoder := json.NewDecoder(strings.NewReader(raw))
	decoder.DisallowUnknownFields()
	// Decode into a separate value, so that a failure halfway through a list leaves the field unchanged.
	value := reflect.New(field.Type())
	err := decoder.Decode(value.Interface())
	if err == nil && !decoder.More() {
		field.Set(value.Elem())
		return
	}
	what := v.redacted(key, raw) + " is not " + form
	var mistyped *json.UnmarshalTypeError
	switch {
	case errors.As(err, &mistyped) && mistyped.Field != "":
		// The rest of mistyped.Value would quote the value.
		found, _, _ := strings.Cut(mistyped.Value, " ")
		what = fmt.Sprintf("is not %s: %s holds a %s", form, mistyped.Field, found)
	case errors.As(err, &mistyped) && json.Valid([]byte(raw)):
		what = "is not " + form
	case err != nil && json.Valid([]byte(raw)):
		what = fmt.Sprintf("is not %s: %s", form, strings.TrimPrefix(err.Error(), "json: "))
	}
	v.add(key, what+"; write one", v.toSet(key, examples(key, "")))
}

// examples returns a valid value for a key that has no default.
func examples(key, fallback string) string {
	switch key {
	case "domain":
		return "example.org"
	case "aliases":
		return `["www.example.org"]`
	case "zoneId":
		return placeholderZone
	case "dnsRecords":
		return `[{"name": "example.org", "type": "MX", "ttl": 3600, "values": ["10 mail.example.org."]}]`
	case "acmeEmail":
		return "ada@example.org"
	case "acmeCA":
		return "roots.pem"
	case "admins":
		return `[{"name": "ada", "keys": ["~/.ssh/id_ed25519.pub"]}]`
	case "sshAllowFrom":
		return `["192.0.2.7/32"]`
	case "ami":
		return placeholderAMI
	case "serverBoundary":
		return "arn:aws:iam::123456789012:policy/immutable-infra-server-production"
	case "buildCommand":
		return "jekyll build"
	case "smtpHost":
		return "smtp.example.org"
	case "smtpUser", "smtpFrom":
		return "noreply@example.org"
	case "grafanaGitHubId":
		return "Iv1.0123456789abcdef"
	case "grafanaGitHubOrganizations":
		return `["example"]`
	}
	return fallback
}

func qualified(project, key string) string {
	if strings.Contains(key, ":") {
		return key
	}
	return project + ":" + key
}

// unknownKeys lists the unknown keys of the project's namespace. encoded is the configuration from the engine, "" if
// the engine did not start the program.
func unknownKeys(project, encoded string) ([]string, error) {
	if encoded == "" {
		return nil, nil
	}
	var all map[string]string
	if err := json.Unmarshal([]byte(encoded), &all); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", pulumi.EnvConfig, err)
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

// suggestion names the known key that a misspelled one resembles.
func suggestion(key string, known []string) string {
	for _, candidate := range known {
		if strings.EqualFold(strings.NewReplacer("-", "", "_", "").Replace(key), candidate) || distance(key, candidate) <= 2 {
			return fmt.Sprintf("did you mean %s? Rename or remove it", candidate)
		}
	}
	return "Pulumi.yaml lists the valid ones; remove it"
}

// distance returns the Levenshtein distance between two keys.
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
