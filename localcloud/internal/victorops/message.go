package victorops

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Message is one alert that was accepted.
type Message struct {
	// Received is when it arrived.
	Received time.Time `json:"received"`
	// RoutingKey is the last element of the path that it was sent to.
	RoutingKey string `json:"routingKey"`
	// Type is one of messageTypes, in capitals.
	Type string `json:"messageType"`
	// EntityID names the incident, as sent or as assigned.
	EntityID string `json:"entityId"`
	// Fields is the whole body as it was sent.
	Fields map[string]any `json:"fields"`
}

// messageTypes are the values of the one field that an alert must have.
func messageTypes() []string {
	return []string{"CRITICAL", "WARNING", "ACKNOWLEDGEMENT", "INFO", "RECOVERY"}
}

// parse reads the body of an alert. An error is for its sender. The result has no
// entity id where the sender gave none.
func parse(body []byte) (Message, error) {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return Message{}, fmt.Errorf("the body is not a JSON object: %w", err)
	}
	message := Message{Fields: fields}
	text, ok := fields["message_type"].(string)
	if !ok {
		return Message{}, fmt.Errorf("message_type is missing: write one of %s", strings.Join(messageTypes(), ", "))
	}
	message.Type = strings.ToUpper(text)
	if !slices.Contains(messageTypes(), message.Type) {
		return Message{}, fmt.Errorf("message_type is %q: write one of %s", text, strings.Join(messageTypes(), ", "))
	}
	if id, sent := fields["entity_id"]; sent {
		if message.EntityID, ok = id.(string); !ok {
			return Message{}, fmt.Errorf("entity_id is not a string")
		}
	}
	return message, nil
}
