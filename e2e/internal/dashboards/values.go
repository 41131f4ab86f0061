package dashboards

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Values are the values of a dashboard's variables.
type Values struct {
	// Range is the displayed period, and Step the time between two points.
	Range, Step time.Duration
	// Scrape is the scrape interval in the data source.
	Scrape time.Duration
	// Variables are the dashboard's own variables, such as "server". A value is a regular expression: ".*" selects all.
	Variables map[string]string
}

// fill replaces $name, ${name}, ${name:format} and [[name]] in an expression, as Grafana does. It keeps $1, which
// label_replace uses, and $ at the end of a regular expression.
func (v Values) fill(expr string) (string, error) {
	var missing []string
	filled := regexp.MustCompile(`\$\{(\w+)(?::\w+)?\}|\$([a-zA-Z_]\w*)|\[\[(\w+)(?::\w+)?\]\]`).ReplaceAllStringFunc(expr,
		func(found string) string {
			name, _, _ := strings.Cut(strings.Trim(found, "${}[]"), ":")
			value, known := v.value(name)
			if !known {
				missing = append(missing, name)
			}
			return value
		})
	if len(missing) > 0 {
		return "", fmt.Errorf("no value for %s", strings.Join(missing, ", "))
	}
	return filled, nil
}

func (v Values) value(name string) (value string, known bool) {
	interval := max(v.Step, v.Scrape)
	switch name {
	case "__range":
		return seconds(v.Range) + "s", true
	case "__range_s":
		return seconds(v.Range), true
	case "__range_ms":
		return strconv.FormatInt(v.Range.Milliseconds(), 10), true
	case "__interval":
		return seconds(interval) + "s", true
	case "__interval_ms":
		return strconv.FormatInt(interval.Milliseconds(), 10), true
	case "__rate_interval":
		// As in Grafana, this is long enough for rate() to include a late sample.
		return seconds(max(interval+v.Scrape, 4*v.Scrape)) + "s", true
	}
	value, known = v.Variables[name]
	return value, known
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
