// Package uptimerobot stands in for UptimeRobot: version 3 of its API, as far as
// monitors of pages, web-hooks and status pages go, and what is behind it. Its
// monitors really ask for their pages, and its web-hooks really are called. Its
// heartbeat monitor is there from the start, as if made by hand.
package uptimerobot

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/state"
)

// Settings are those of an account and of the double itself.
type Settings struct {
	Key               string        // the account's main API key
	RequestsPerMinute int           // how many the account's plan has
	PageSize          int           // how many objects a page of a list has
	Heartbeat         string        // the token of the account's heartbeat monitor; "" is none
	Client            *http.Client  // asks for the monitored pages and calls web-hooks
	File              string        // keeps the account over a restart
	Second            time.Duration // how long a second of a monitor's interval is: shorter in tests
	Log               func(string)  // gets the errors that no answer reports
}

// Server is the API below /v3, and beside it, what only the double has:
//
//	HEAD, GET, POST  /heartbeat/{token}  a heartbeat, which UptimeRobot takes at another host
//	GET  /localcloud/state     what exists, without secrets: State
type Server struct {
	http.Handler
	settings Settings

	mu      sync.Mutex
	account account
	busy    map[int64]bool
	notices []Notice
	window  time.Time // the minute in which requests are counted
	counted int
}

// New returns a server with what its file has. Run makes its monitors work.
func New(settings Settings) (*Server, error) {
	mux := http.NewServeMux()
	s := &Server{Handler: mux, settings: settings, busy: map[int64]bool{}}
	var err error
	if s.account, err = loadAccount(settings.File); err != nil {
		return nil, err
	}
	s.addHeartbeat()
	mux.HandleFunc("GET /heartbeat/{token}", s.beat) // and HEAD
	mux.HandleFunc("POST /heartbeat/{token}", s.beat)
	for _, k := range s.kinds() {
		if k.schemas, err = compileSchemas(k.path[1:]); err != nil {
			return nil, err
		}
		list, one := " /v3"+k.path, " /v3"+k.path+"/{id}"
		for _, pattern := range []string{"GET" + list, "POST" + list, "GET" + one, "PATCH" + one, "DELETE" + one} {
			mux.HandleFunc(pattern, s.api(func(r *http.Request) (int, any, error) { return s.serve(k, r) }))
		}
	}
	mux.HandleFunc("/v3/", s.api(func(r *http.Request) (int, any, error) {
		return 0, nil, refuse(http.StatusNotFound, "", "Cannot %s %s", r.Method, r.URL.Path)
	}))
	mux.HandleFunc("GET /localcloud/state", func(w http.ResponseWriter, _ *http.Request) {
		https.Answer(w, http.StatusOK, s.State())
	})
	return s, nil
}

// refusal is an answer that is an error, for who asked.
type refusal struct {
	status int
	body   map[string]any
}

func (r *refusal) Error() string { return fmt.Sprint(r.body["message"]) }

func refuse(status int, code, format string, args ...any) error {
	body := map[string]any{"message": fmt.Sprintf(format, args...)}
	if code != "" {
		body["code"] = code
	}
	return &refusal{status, body}
}

// invalid refuses a request that is wrong in itself.
func invalid(messages ...string) error {
	return &refusal{http.StatusBadRequest, map[string]any{
		"message": messages, "error": "Bad Request", "statusCode": http.StatusBadRequest,
	}}
}

// api is a handler that knows the rules of all requests.
func (s *Server) api(handle func(*http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.counts(w) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "ThrottlerException: Too Many Requests") // an error is that of a caller who is gone
			return
		}
		status, body, err := s.answered(handle, r)
		refused, ok := errors.AsType[*refusal](err)
		switch {
		case ok:
			https.Answer(w, refused.status, refused.body)
		case err != nil:
			s.settings.Log(err.Error())
			https.Answer(w, http.StatusInternalServerError,
				map[string]any{"message": "Internal server error", "statusCode": 500})
		default:
			https.Answer(w, status, body)
		}
	}
}

// answered carries out a request whose key is right.
func (s *Server) answered(handle func(*http.Request) (int, any, error), r *http.Request) (int, any, error) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.settings.Key)) != 1 {
		return 0, nil, refuse(http.StatusUnauthorized, "003-005", "Unauthorized")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status, body, err := handle(r)
	if err == nil && r.Method != http.MethodGet {
		err = state.WriteJSON(s.settings.File, s.account)
	}
	return status, body, err
}

// counts reports whether the plan has another request in this minute.
func (s *Server) counts(w http.ResponseWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.window) >= time.Minute {
		s.window, s.counted = now, 0
	}
	limit := s.settings.RequestsPerMinute
	ok := s.counted < limit
	s.counted = min(s.counted+1, limit)
	reset := int(s.window.Add(time.Minute).Sub(now)/time.Second) + 1
	header := map[string]int{
		"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": limit - s.counted, "X-RateLimit-Reset": reset,
	}
	if !ok {
		header["Retry-After"] = reset
	}
	for name, value := range header {
		w.Header().Set(name, strconv.Itoa(value))
	}
	return ok
}

// kind is one of the three kinds of objects of an account. Its functions are called with the lock.
type kind struct {
	noun, path string
	schemas    schemas
	ids        func() []int64     // sorted
	tell       func(id int64) any // an object in the API's form
	// write makes or changes an object by a request's body; id is 0 for a new one. It returns the id.
	write  func(id int64, content []byte) (int64, error)
	remove func(id int64)
}

func (s *Server) serve(k kind, r *http.Request) (int, any, error) {
	id, isList := int64(0), r.PathValue("id") == ""
	if !isList {
		var err error
		if id, err = strconv.ParseInt(r.PathValue("id"), 10, 64); err != nil {
			return 0, nil, invalid("Validation failed (numeric string is expected)")
		}
		if !slices.Contains(k.ids(), id) {
			return 0, nil, refuse(http.StatusNotFound, "000-004", "%s not found", k.noun)
		}
	}
	status, count := http.StatusOK, s.account.Changed
	switch {
	case r.Method == http.MethodGet && isList:
		return s.list(k, r)
	case r.Method == http.MethodGet:
		return status, k.tell(id), nil
	case r.Method == http.MethodDelete:
		k.remove(id)
		s.account.Deleted[k.path]++
		return status, map[string]any{}, nil
	case isList:
		status, count = http.StatusCreated, s.account.Created
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		return 0, nil, refuse(http.StatusUnsupportedMediaType, "", "Content-Type %q: write application/json", kind)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, invalid(err.Error())
	}
	var body map[string]any
	if err := json.Unmarshal(content, &body); err != nil || body == nil {
		return 0, nil, invalid("the body is not a JSON object")
	}
	wanted := k.schemas.change
	if isList {
		wanted = k.schemas.create
	}
	if err := check(body, wanted); err != nil {
		return 0, nil, err
	}
	if id, err = k.write(id, content); err != nil {
		return 0, nil, err
	}
	count[k.path]++
	return status, k.tell(id), nil
}

func (s *Server) list(k kind, r *http.Request) (int, any, error) {
	after := int64(0)
	for name := range r.URL.Query() {
		if name != "cursor" {
			return 0, nil, invalid("property " + name + " should not exist")
		}
		var err error
		if after, err = strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err != nil {
			return 0, nil, invalid("cursor is invalid")
		}
	}
	ids := slices.DeleteFunc(k.ids(), func(id int64) bool { return id <= after })
	var next any
	if size := s.settings.PageSize; len(ids) > size {
		ids = ids[:size]
		query := url.Values{"cursor": {strconv.FormatInt(ids[size-1], 10)}}
		next = (&url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode()}).String()
	}
	data := []any{}
	for _, id := range ids {
		data = append(data, k.tell(id))
	}
	return http.StatusOK, map[string]any{"data": data, "nextLink": next}, nil
}
