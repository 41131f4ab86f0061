package store

import "strings"

// Record is a resource as AWS shows it: the JSON form of its properties, under
// Pulumi's names. What is not there is empty, and so is what is of another form than a method
// is for. The methods take the path of a property, such as rootBlockDevice.tags.
type Record map[string]any

// At returns a property, or nil.
func (r Record) At(path string) any {
	name, rest, nested := strings.Cut(path, ".")
	if !nested {
		return r[name]
	}
	object, _ := r[name].(map[string]any)
	return Record(object).At(rest)
}

// Has reports whether a property is there, and neither empty nor false.
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

func (r Record) Text(path string) string {
	text, _ := r.At(path).(string)
	return text
}

func (r Record) Flag(path string) bool {
	flag, _ := r.At(path).(bool)
	return flag
}

// Number returns a property that is a whole number.
func (r Record) Number(path string) int {
	number, _ := r.At(path).(float64)
	return int(number)
}

func (r Record) List(path string) []any {
	list, _ := r.At(path).([]any)
	return list
}

// Texts returns the strings of a property that is one or a list of them.
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

func (r Record) Object(path string) Record {
	object, _ := r.At(path).(map[string]any)
	return object
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

// Tags returns a property that maps the names of tags to their values.
func (r Record) Tags(path string) map[string]string {
	tags := map[string]string{}
	for key, value := range r.Object(path) {
		if text, ok := value.(string); ok {
			tags[key] = text
		}
	}
	return tags
}
