package dashboards

import (
	"encoding/json"
	"fmt"
	"regexp"
)

// labelValues converts a variable's query, in Grafana's own syntax label_values(metric, label), to a PromQL expression
// with a series for each value of the label.
func labelValues(raw json.RawMessage) (string, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		var object struct{ Query string }
		if err := json.Unmarshal(raw, &object); err != nil {
			return "", fmt.Errorf("its query is neither a string nor an object: %w", err)
		}
		text = object.Query
	}
	parts := regexp.MustCompile(`^\s*label_values\(\s*(.+?)\s*,\s*([a-zA-Z_]\w*)\s*\)\s*$`).FindStringSubmatch(text)
	if parts == nil {
		return "", fmt.Errorf("its query is %q: only label_values(metric, label) is supported", text)
	}
	return fmt.Sprintf("group by (%s) (%s)", parts[2], parts[1]), nil
}
