// Package victorops stands in for two endpoints of Splunk On-Call, which was
// VictorOps: the generic one, and that for UptimeRobot. It takes alerts as they do,
// and keeps them to be read.
package victorops

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	// kept is how many alerts are remembered: more than any test sends.
	kept = 1000
	// largestBody is the most that is read of a request, in bytes.
	largestBody = 1 << 20
)

// Server is the endpoint, and beside it, what only the double has:
//
//	POST   /integrations/generic/20131114/alert/{key}/{routing}
//	POST   /integrations/uptimerobot/20131114/alert/{key}/{routing}?...    from UptimeRobot
//	GET    /localcloud/alerts    the accepted alerts, oldest first: []Message
//	DELETE /localcloud/alerts    forget them
//	PUT    /localcloud/outage    {"status": 503, "times": 2}: refuse the next alerts
//
// The key of an alert is not kept.
type Server struct {
	key string
	mux *http.ServeMux

	mu       sync.Mutex
	messages []Message
	outage   outage
}

// New returns the endpoint of an account with that key.
func New(key string) *Server {
	s := &Server{key: key, mux: http.NewServeMux()}
	s.mux.HandleFunc("POST /integrations/generic/20131114/alert/{key}/{routing}", func(w http.ResponseWriter, r *http.Request) {
		s.take(w, r, parse)
	})
	s.mux.HandleFunc("POST /integrations/uptimerobot/20131114/alert/{key}/{routing}", func(w http.ResponseWriter, r *http.Request) {
		s.take(w, r, func([]byte) (Message, error) { return fromUptimeRobot(r.URL.Query()) })
	})
	s.mux.HandleFunc("GET /localcloud/alerts", s.show)
	s.mux.HandleFunc("DELETE /localcloud/alerts", s.forget)
	s.mux.HandleFunc("PUT /localcloud/outage", s.fail)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, largestBody)
	s.mux.ServeHTTP(w, r)
}

// Messages are the accepted alerts, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// take takes an alert that comes in the form that read knows.
func (s *Server) take(w http.ResponseWriter, r *http.Request, read func(body []byte) (Message, error)) {
	if status := s.refusal(); status != 0 {
		failure(w, status, http.StatusText(status))
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.PathValue("key")), []byte(s.key)) != 1 {
		failure(w, http.StatusNotFound, "there is no such API key")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		failure(w, http.StatusBadRequest, err.Error())
		return
	}
	message, err := read(body)
	if err != nil {
		failure(w, http.StatusBadRequest, err.Error())
		return
	}
	if message.EntityID == "" {
		message.EntityID = rand.Text()
	}
	message.RoutingKey = r.PathValue("routing")
	message.Received = time.Now().UTC()
	s.mu.Lock()
	s.messages = append(s.messages, message)
	s.messages = s.messages[max(0, len(s.messages)-kept):]
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]string{"result": "success", "entity_id": message.EntityID})
}

// refusal is the status that the outage has for an alert, 0 without one.
func (s *Server) refusal() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outage.Times == 0 {
		return 0
	}
	s.outage.Times--
	return s.outage.Status
}

func (s *Server) show(w http.ResponseWriter, _ *http.Request) {
	messages := s.Messages()
	if messages == nil {
		messages = []Message{}
	}
	answer(w, http.StatusOK, messages)
}

func (s *Server) forget(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.messages = nil
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		var wanted outage
		if wanted, err = parseOutage(body); err == nil {
			s.mu.Lock()
			s.outage = wanted
			s.mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	failure(w, http.StatusBadRequest, err.Error())
}

func failure(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"result": "failure", "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		// Only what came as JSON is answered with.
		status, text = http.StatusInternalServerError, fmt.Appendf(nil, `{"result":"failure","message":%q}`, err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error is that of a caller who is gone.
	_, _ = w.Write(text)
}
