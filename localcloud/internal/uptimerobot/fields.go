package uptimerobot

import (
	"fmt"
	"html"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
)

// rule says what a field of a request has to be. A problem is "" if it is that.
type rule struct {
	required bool
	problem  func(value any) string
}

// checkFields finds everything that is wrong with a request, in the words of the
// API's own validation. required is false for a change, which may leave out what
// stays.
func checkFields(body map[string]any, rules map[string]rule, required bool) error {
	var messages []string
	for _, name := range slices.Sorted(maps.Keys(body)) {
		r, known := rules[name]
		if !known {
			messages = append(messages, fmt.Sprintf("property %s should not exist", name))
			continue
		}
		if problem := r.problem(body[name]); problem != "" {
			messages = append(messages, name+" "+problem)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if _, sent := body[name]; !sent && required && rules[name].required {
			messages = append(messages, name+" should not be empty")
		}
	}
	if len(messages) > 0 {
		return &refusal{status: http.StatusBadRequest, messages: messages}
	}
	return nil
}

func stringUpTo(length int) func(any) string {
	return func(value any) string {
		text, ok := value.(string)
		switch {
		case !ok:
			return "must be a string"
		case text == "":
			return "should not be empty"
		case len(text) > length:
			return fmt.Sprintf("must be shorter than or equal to %d characters", length)
		}
		return ""
	}
}

func webURL(value any) string {
	text, _ := value.(string)
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
		return "must be a URL address"
	}
	return ""
}

func oneOf(values ...string) func(any) string {
	return func(value any) string {
		if text, _ := value.(string); !slices.Contains(values, text) {
			return fmt.Sprintf("must be one of the following values: %v", values)
		}
		return ""
	}
}

func between(low, high int) func(any) string {
	return func(value any) string {
		number, ok := value.(float64)
		switch {
		case !ok || number != math.Trunc(number):
			return "must be an integer number"
		case number < float64(low):
			return fmt.Sprintf("must not be less than %d", low)
		case number > float64(high):
			return fmt.Sprintf("must not be greater than %d", high)
		}
		return ""
	}
}

func boolean(value any) string {
	if _, ok := value.(bool); !ok {
		return "must be a boolean value"
	}
	return ""
}

func listOf(problem func(any) string) func(any) string {
	return func(value any) string {
		list, ok := value.([]any)
		if !ok {
			return "must be an array"
		}
		for _, each := range list {
			if p := problem(each); p != "" {
				return "each value in it " + p
			}
		}
		return ""
	}
}

// setString and setInt take over a field that was sent. It was checked before.
func setString(body map[string]any, name string, into *string) {
	if text, ok := body[name].(string); ok {
		*into = text
	}
}

func setInt(body map[string]any, name string, into *int) {
	if number, ok := body[name].(float64); ok {
		*into = int(number)
	}
}

func setBool(body map[string]any, name string, into *bool) {
	if truth, ok := body[name].(bool); ok {
		*into = truth
	}
}

// escaped is how the API tells a text that it was given.
func escaped(text string) string { return html.EscapeString(text) }
