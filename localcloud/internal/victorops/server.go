// Package victorops stands in for two endpoints of Splunk On-Call, formerly VictorOps: the generic endpoint and the
// one for UptimeRobot. It validates alerts as they do and keeps them for inspection.
package victorops

import (
	"cmp"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"immutable-infra/localcloud/internal/https"
)

// maxMessages is the number of alerts that are kept: more than any test sends.
const maxMessages = 1000

// Message is an accepted alert.
type Message struct {
	Received   time.Time      `json:"received"`
	RoutingKey string         `json:"routingKey"`  // the last element of the request path
	Type       string         `json:"messageType"` // one of messageTypes
	EntityID   string         `json:"entityId"`    // identifies the incident; generated if the alert has none
	Fields     map[string]any `json:"fields"`      // the request body or, from UptimeRobot, fields made from the query
}

// Server serves:
//
//	POST  /integrations/generic/20131114/alert/{key}/{routing}
//	POST  /integrations/uptimerobot/20131114/alert/{key}/{routing}?...    from UptimeRobot
//	GET   /localcloud/alerts    the accepted alerts as []Message, oldest first; Splunk On-Call has no such path
//
// It does not store the API key of an alert.
type Server struct {
	http.Handler
	key string

	mu       sync.Mutex
	messages []Message
}

// New returns a server for an account with that API key.
func New(key string) *Server {
	mux := http.NewServeMux()
	s := &Server{Handler: mux, key: key}
	const generic, uptimeRobot = "generic/20131114/alert/{key}/{routing}", "uptimerobot/20131114/alert/{key}/{routing}"
	mux.HandleFunc("POST /integrations/"+generic, func(w http.ResponseWriter, r *http.Request) {
		s.receive(w, r, parseGeneric)
	})
	mux.HandleFunc("POST /integrations/"+uptimeRobot, func(w http.ResponseWriter, r *http.Request) {
		s.receive(w, r, func([]byte) (Message, error) { return parseUptimeRobot(r.URL.Query()) })
	})
	mux.HandleFunc("GET /localcloud/alerts", func(w http.ResponseWriter, _ *http.Request) {
		https.Answer(w, http.StatusOK, append([]Message{}, s.Messages()...))
	})
	return s
}

// Messages returns the accepted alerts, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// receive authenticates a request, parses the alert and stores it.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, parse func(body []byte) (Message, error)) {
	if subtle.ConstantTimeCompare([]byte(r.PathValue("key")), []byte(s.key)) != 1 {
		writeFailure(w, http.StatusNotFound, "no such API key")
		return
	}
	body, err := io.ReadAll(r.Body)
	var message Message
	if err == nil {
		message, err = parse(body)
	}
	if err != nil {
		writeFailure(w, http.StatusBadRequest, err.Error())
		return
	}
	if message.EntityID == "" {
		message.EntityID = rand.Text()
	}
	message.RoutingKey, message.Received = r.PathValue("routing"), time.Now().UTC()
	s.mu.Lock()
	s.messages = append(s.messages, message)
	s.messages = s.messages[max(0, len(s.messages)-maxMessages):]
	s.mu.Unlock()
	https.Answer(w, http.StatusOK, map[string]string{"result": "success", "entity_id": message.EntityID})
}

// messageTypes returns the values of message_type, the only required field of an alert.
func messageTypes() []string {
	return []string{"CRITICAL", "WARNING", "ACKNOWLEDGEMENT", "INFO", "RECOVERY"}
}

// parseGeneric parses the body of a generic alert. The error is the response to the sender. EntityID is empty if the
// alert has none.
func parseGeneric(body []byte) (Message, error) {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		return Message{}, fmt.Errorf("the body is not a JSON object: %w", cmp.Or(err, errors.New("it is null")))
	}
	text, ok := fields["message_type"].(string)
	if !ok {
		return Message{}, fmt.Errorf("message_type is missing: write one of %s", strings.Join(messageTypes(), ", "))
	}
	message := Message{Fields: fields, Type: strings.ToUpper(text)}
	if !slices.Contains(messageTypes(), message.Type) {
		return Message{}, fmt.Errorf("message_type is %q: write one of %s", text, strings.Join(messageTypes(), ", "))
	}
	if id, sent := fields["entity_id"]; sent {
		if message.EntityID, ok = id.(string); !ok {
			return Message{}, errors.New("entity_id is not a string")
		}
	}
	return message, nil
}

// parseUptimeRobot parses an alert from UptimeRobot, whose webhooks send their variables as a query string. The error
// is the response to the sender.
func parseUptimeRobot(query url.Values) (Message, error) {
	for _, name := range []string{"monitorID", "monitorFriendlyName", "alertType"} {
		if query.Get(name) == "" {
			return Message{},
				errors.New(name + " is missing from the query: the webhook must send its variables as a query string")
		}
	}
	// 3 is a certificate or a domain that is about to expire.
	kind, known := map[string]string{"1": "CRITICAL", "2": "RECOVERY", "3": "WARNING"}[query.Get("alertType")]
	if !known {
		return Message{}, fmt.Errorf("alertType is %q, not 1, 2 or 3", query.Get("alertType"))
	}
	fields := map[string]any{
		"entity_display_name": query.Get("monitorFriendlyName"),
		"state_message":       query.Get("alertDetails"),
		"monitoring_tool":     "Uptime Robot",
	}
	for name := range query {
		fields[name] = query.Get(name)
	}
	return Message{Type: kind, EntityID: "uptimerobot/" + query.Get("monitorID"), Fields: fields}, nil
}

func writeFailure(w http.ResponseWriter, status int, message string) {
	https.Answer(w, status, map[string]string{"result": "failure", "message": message})
}
