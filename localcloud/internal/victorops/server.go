// Package victorops stands in for two endpoints of Splunk On-Call, which was VictorOps: the generic
// one, and that for UptimeRobot. It takes alerts as they do, and keeps them to be read.
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

// kept is how many alerts are remembered: more than any test sends.
const kept = 1000

// Message is one alert that was accepted.
type Message struct {
	Received   time.Time      `json:"received"`    // when it arrived
	RoutingKey string         `json:"routingKey"`  // the last element of the path that it was sent to
	Type       string         `json:"messageType"` // one of messageTypes, in capitals
	EntityID   string         `json:"entityId"`    // names the incident, as sent or as assigned
	Fields     map[string]any `json:"fields"`      // the whole body as it was sent
}

// Server is the endpoint, and beside it, what only the double has:
//
//	POST  /integrations/generic/20131114/alert/{key}/{routing}
//	POST  /integrations/uptimerobot/20131114/alert/{key}/{routing}?...    from UptimeRobot
//	GET   /localcloud/alerts    the accepted alerts, oldest first: []Message
//
// The key of an alert is not kept.
type Server struct {
	http.Handler
	key string

	mu       sync.Mutex
	messages []Message
}

// New returns the endpoint of an account with that key.
func New(key string) *Server {
	mux := http.NewServeMux()
	s := &Server{Handler: mux, key: key}
	const generic, uptimeRobot = "generic/20131114/alert/{key}/{routing}", "uptimerobot/20131114/alert/{key}/{routing}"
	mux.HandleFunc("POST /integrations/"+generic, func(w http.ResponseWriter, r *http.Request) { s.take(w, r, parse) })
	mux.HandleFunc("POST /integrations/"+uptimeRobot, func(w http.ResponseWriter, r *http.Request) {
		s.take(w, r, func([]byte) (Message, error) { return fromUptimeRobot(r.URL.Query()) })
	})
	mux.HandleFunc("GET /localcloud/alerts", func(w http.ResponseWriter, _ *http.Request) {
		https.Answer(w, http.StatusOK, append([]Message{}, s.Messages()...))
	})
	return s
}

// Messages are the accepted alerts, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// take takes an alert that comes in the form that read knows.
func (s *Server) take(w http.ResponseWriter, r *http.Request, read func(body []byte) (Message, error)) {
	if subtle.ConstantTimeCompare([]byte(r.PathValue("key")), []byte(s.key)) != 1 {
		failure(w, http.StatusNotFound, "there is no such API key")
		return
	}
	body, err := io.ReadAll(r.Body)
	var message Message
	if err == nil {
		message, err = read(body)
	}
	if err != nil {
		failure(w, http.StatusBadRequest, err.Error())
		return
	}
	if message.EntityID == "" {
		message.EntityID = rand.Text()
	}
	message.RoutingKey, message.Received = r.PathValue("routing"), time.Now().UTC()
	s.mu.Lock()
	s.messages = append(s.messages, message)
	s.messages = s.messages[max(0, len(s.messages)-kept):]
	s.mu.Unlock()
	https.Answer(w, http.StatusOK, map[string]string{"result": "success", "entity_id": message.EntityID})
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

// fromUptimeRobot reads an alert in the form of UptimeRobot's web-hooks: its
// variables, as a query. An error is for its sender.
func fromUptimeRobot(query url.Values) (Message, error) {
	for _, name := range []string{"monitorID", "monitorFriendlyName", "alertType"} {
		if query.Get(name) == "" {
			return Message{},
				errors.New(name + " is missing in the query: the web-hook has to send the variables as a query string")
		}
	}
	// 3 is a certificate or a domain that expires.
	kind, known := map[string]string{"1": "CRITICAL", "2": "RECOVERY", "3": "WARNING"}[query.Get("alertType")]
	if !known {
		return Message{}, fmt.Errorf("alertType is %q, and not 1, 2 or 3", query.Get("alertType"))
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

func failure(w http.ResponseWriter, status int, message string) {
	https.Answer(w, status, map[string]string{"result": "failure", "message": message})
}
