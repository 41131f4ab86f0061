// Package uptimerobot stands in for UptimeRobot. It implements version 3 of the API for page monitors, webhooks and
// status pages. The monitors really probe their pages, and the webhooks are really called. The heartbeat monitor
// exists from the start, as if an operator had created it by hand.
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

// Settings configures the account and the server.
type Settings struct {
	Key               string        // the account's main API key
	RequestsPerMinute int           // the rate limit of the account's plan
	PageSize          int           // the number of objects per page of a list
	Heartbeat         string        // the token of the account's heartbeat monitor; "" for no heartbeat monitor
	Client            *http.Client  // probes the monitored pages and calls webhooks
	File              string        // persists the account
	Second            time.Duration // the length of a second of intervals and timeouts: shorter in tests
	Log               func(string)  // receives the errors that no response reports
}

// Server serves the API below /v3 and, outside it:
//
//	HEAD, GET, POST  /heartbeat/{token}  a heartbeat; UptimeRobot receives heartbeats at another host
//	GET              /localcloud/state   the account without secrets, as State; UptimeRobot has no such path
type Server struct {
	http.Handler
	settings Settings

	mu      sync.Mutex
	account account
	busy    map[int64]bool // the monitors that are being checked, by ID
	notices []Notice
	// windowStart is the beginning of the minute for which requestCount counts requests.
	windowStart  time.Time
	requestCount int
}

// New returns a server for the account in settings.File. Run runs its monitors.
func New(settings Settings) (*Server, error) {
	mux := http.NewServeMux()
	s := &Server{Handler: mux, settings: settings, busy: map[int64]bool{}}
	var err error
	if s.account, err = loadAccount(settings.File); err != nil {
		return nil, err
	}
	s.addHeartbeat()
	mux.HandleFunc("GET /heartbeat/{token}", s.receiveHeartbeat) // and HEAD
	mux.HandleFunc("POST /heartbeat/{token}", s.receiveHeartbeat)
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
		return 0, nil, apiErrorf(http.StatusNotFound, "", "Cannot %s %s", r.Method, r.URL.Path)
	}))
	mux.HandleFunc("GET /localcloud/state", func(w http.ResponseWriter, _ *http.Request) {
		https.Answer(w, http.StatusOK, s.State())
	})
	return s, nil
}

// apiError is an error response of the API.
type apiError struct {
	status int
	body   map[string]any
}

func (e *apiError) Error() string { return fmt.Sprint(e.body["message"]) }

func apiErrorf(status int, code, format string, args ...any) error {
	body := map[string]any{"message": fmt.Sprintf(format, args...)}
	if code != "" {
		body["code"] = code
	}
	return &apiError{status, body}
}

// badRequest returns the error for an invalid request.
func badRequest(messages ...string) error {
	return &apiError{http.StatusBadRequest, map[string]any{
		"message": messages, "error": "Bad Request", "statusCode": http.StatusBadRequest,
	}}
}

// api adds rate limiting, authentication, persistence and error responses to handle.
func (s *Server) api(handle func(*http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.allow(w) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "ThrottlerException: Too Many Requests") // fails only if the client is gone
			return
		}
		status, body, err := s.execute(handle, r)
		apiErr, ok := errors.AsType[*apiError](err)
		switch {
		case ok:
			https.Answer(w, apiErr.status, apiErr.body)
		case err != nil:
			s.settings.Log(err.Error())
			https.Answer(w, http.StatusInternalServerError,
				map[string]any{"message": "Internal server error", "statusCode": 500})
		default:
			https.Answer(w, status, body)
		}
	}
}

// execute authenticates a request, handles it with the lock held and saves the account after a change.
func (s *Server) execute(handle func(*http.Request) (int, any, error), r *http.Request) (int, any, error) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.settings.Key)) != 1 {
		return 0, nil, apiErrorf(http.StatusUnauthorized, "003-005", "Unauthorized")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status, body, err := handle(r)
	if err == nil && r.Method != http.MethodGet {
		err = state.WriteJSON(s.settings.File, s.account)
	}
	return status, body, err
}

// allow counts a request and reports whether it is within the rate limit of the current minute. It sets the headers
// that describe the limit.
func (s *Server) allow(w http.ResponseWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.windowStart) >= time.Minute {
		s.windowStart, s.requestCount = now, 0
	}
	limit := s.settings.RequestsPerMinute
	ok := s.requestCount < limit
	s.requestCount = min(s.requestCount+1, limit)
	reset := int(s.windowStart.Add(time.Minute).Sub(now)/time.Second) + 1
	header := map[string]int{
		"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": limit - s.requestCount, "X-RateLimit-Reset": reset,
	}
	if !ok {
		header["Retry-After"] = reset
	}
	for name, value := range header {
		w.Header().Set(name, strconv.Itoa(value))
	}
	return ok
}

// kind is one of the three kinds of objects of an account. Its functions are called with the lock held.
type kind struct {
	noun, path string
	schemas    schemas
	ids        func() []int64     // in ascending order
	toAPI      func(id int64) any // returns an object as the API encodes it
	// write creates an object, if id is 0, or updates it from a request body. It returns the object's ID.
	write  func(id int64, content []byte) (int64, error)
	remove func(id int64)
}

func (s *Server) serve(k kind, r *http.Request) (int, any, error) {
	id, isList := int64(0), r.PathValue("id") == ""
	if !isList {
		var err error
		if id, err = strconv.ParseInt(r.PathValue("id"), 10, 64); err != nil {
			return 0, nil, badRequest("Validation failed (numeric string is expected)")
		}
		if !slices.Contains(k.ids(), id) {
			return 0, nil, apiErrorf(http.StatusNotFound, "000-004", "%s not found", k.noun)
		}
	}
	status, counter := http.StatusOK, s.account.Changed
	switch {
	case r.Method == http.MethodGet && isList:
		return s.list(k, r)
	case r.Method == http.MethodGet:
		return status, k.toAPI(id), nil
	case r.Method == http.MethodDelete:
		k.remove(id)
		s.account.Deleted[k.path]++
		return status, map[string]any{}, nil
	case isList:
		status, counter = http.StatusCreated, s.account.Created
	}
	if mediaType := r.Header.Get("Content-Type"); mediaType != "application/json" {
		return 0, nil, apiErrorf(http.StatusUnsupportedMediaType, "", "Content-Type is %q: use application/json", mediaType)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, nil, badRequest(err.Error())
	}
	var body map[string]any
	if err := json.Unmarshal(content, &body); err != nil || body == nil {
		return 0, nil, badRequest("the body is not a JSON object")
	}
	schema := k.schemas.update
	if isList {
		schema = k.schemas.create
	}
	if err := validate(body, schema); err != nil {
		return 0, nil, err
	}
	if id, err = k.write(id, content); err != nil {
		return 0, nil, err
	}
	counter[k.path]++
	return status, k.toAPI(id), nil
}

func (s *Server) list(k kind, r *http.Request) (int, any, error) {
	after := int64(0)
	for name := range r.URL.Query() {
		if name != "cursor" {
			return 0, nil, badRequest("property " + name + " should not exist")
		}
		var err error
		if after, err = strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err != nil {
			return 0, nil, badRequest("cursor is invalid")
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
		data = append(data, k.toAPI(id))
	}
	return http.StatusOK, map[string]any{"data": data, "nextLink": next}, nil
}
