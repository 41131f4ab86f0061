package store

import "strings"

// Record is a resource as AWS returns it: its properties in JSON form, under Pulumi's names. The methods take the
// path of a property, such as rootBlockDevice.tags, and return the zero value if it is missing or has another
// type.
type Record map[string]any

// At returns a property, or nil.
func (r Record) At(path string) any {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		return r[name]
	}
	return r.Object(name).At(rest)
}

// Has reports whether a property exists and is neither empty nor false.
func (r Record) Has(path string) bool {
	switch v := r.At(path).(type) {
	case string:
		return v != ""
	case bool:
		return v
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	default:
		return v != nil
	}
}

func get[T any](r Record, path string) (value T) {
	value, _ = r.At(path).(T)
	return value
}

func (r Record) Text(path string) string { return get[string](r, path) }
func (r Record) Flag(path string) bool   { return get[bool](r, path) }
func (r Record) List(path string) []any  { return get[[]any](r, path) }

func (r Record) Object(path string) Record { return get[map[string]any](r, path) }

func (r Record) Number(path string) int { return int(get[float64](r, path)) }

// Texts returns the value of a property that is a string or a list of strings.
func (r Record) Texts(path string) []string {
	if text := r.Text(path); text != "" {
		return []string{text}
	}
	var texts []string
	for _, item := range r.List(path) {
		if text, ok := item.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

func (r Record) Objects(path string) []Record {
	var objects []Record
	for _, item := range r.List(path) {
		if object, ok := item.(map[string]any); ok {
			objects = append(objects, object)
		}
	}
	return objects
}

// Tags returns a property that maps tag keys to values.
func (r Record) Tags(path string) map[string]string {
	tags := map[string]string{}
	for key, value := range r.Object(path) {
		if text, ok := value.(string); ok {
			tags[key] = text
		}
	}
	return tags
}
