package store

import (
	"encoding/json"
	"fmt"
)

// Record is a resource as AWS shows it: the JSON form of its properties, under
// Pulumi's names. What is not there is empty.
type Record map[string]any

// Text returns a property that is a string.
func (r Record) Text(name string) string {
	text, _ := r[name].(string)
	return text
}

// Flag returns a property that is a boolean.
func (r Record) Flag(name string) bool {
	flag, _ := r[name].(bool)
	return flag
}

// Number returns a property that is a whole number.
func (r Record) Number(name string) int {
	number, _ := r[name].(float64)
	return int(number)
}

// List returns the elements of a property that is a list.
func (r Record) List(name string) []any {
	list, _ := r[name].([]any)
	return list
}

// Texts returns a property that is a list of strings.
func (r Record) Texts(name string) []string {
	var texts []string
	for _, item := range r.List(name) {
		if text, ok := item.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// Object returns a property that is an object, or nil.
func (r Record) Object(name string) Record {
	object, _ := r[name].(map[string]any)
	return object
}

// Tags returns a property that maps the names of tags to their values.
func (r Record) Tags(name string) map[string]string {
	tags := map[string]string{}
	for key, value := range r.Object(name) {
		if text, ok := value.(string); ok {
			tags[key] = text
		}
	}
	return tags
}

// Decode fills target from a property, by the JSON names of the target.
func (r Record) Decode(name string, target any) error {
	document, err := json.Marshal(r[name])
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := json.Unmarshal(document, target); err != nil {
		return fmt.Errorf("decode %s: %w", name, err)
	}
	return nil
}
