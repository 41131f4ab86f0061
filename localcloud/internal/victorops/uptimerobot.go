package victorops

import (
	"errors"
	"fmt"
	"net/url"
)

// fromUptimeRobot reads an alert in the form of UptimeRobot's web-hooks: its
// variables, as a query. An error is for its sender.
func fromUptimeRobot(query url.Values) (Message, error) {
	for _, name := range []string{"monitorID", "monitorFriendlyName", "alertType"} {
		if query.Get(name) == "" {
			return Message{}, errors.New(name + " is missing in the query: the web-hook has to send the variables as a query string")
		}
	}
	message := Message{
		EntityID: "uptimerobot/" + query.Get("monitorID"),
		Fields: map[string]any{
			"entity_display_name": query.Get("monitorFriendlyName"),
			"state_message":       query.Get("alertDetails"),
			"monitoring_tool":     "Uptime Robot",
		},
	}
	for name := range query {
		message.Fields[name] = query.Get(name)
	}
	switch kind := query.Get("alertType"); kind {
	case "1":
		message.Type = "CRITICAL"
	case "2":
		message.Type = "RECOVERY"
	case "3": // a certificate or a domain that expires
		message.Type = "WARNING"
	default:
		return Message{}, fmt.Errorf("alertType is %q, and not 1, 2 or 3", kind)
	}
	return message, nil
}
