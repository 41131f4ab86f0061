// Package uptimerobot stands in for UptimeRobot: version 3 of its API, as far as
// monitors of pages, web-hooks and status pages go, and what is behind it. Its
// monitors really ask for their pages, and its web-hooks really are called. Its
// heartbeat monitor is there from the start, as if made by hand.
package uptimerobot

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// largestBody is the most that is read of a request, in bytes.
const largestBody = 1 << 20

// Settings are those of an account and of the double itself.
type Settings struct {
	// Key is the account's main API key.
	Key string
	// Plan is what the account has paid for.
	Plan Plan
	// PageSize is how many things a page of a list has.
	PageSize int
	// Heartbeat is the token of the account's heartbeat monitor; "" is none.
	Heartbeat string
	// Client asks for the monitored pages and calls web-hooks.
	Client *http.Client
	// File keeps the account over a restart. Optional.
	File string
	// Second is how long a second of a monitor's interval is. It is one, but in tests.
	Second time.Duration
	// Log is told what cannot be told to anybody else.
	Log func(string)
}

// Plan is what an account may do.
type Plan struct {
	// RequestsPerMinute is how many requests the API takes.
	RequestsPerMinute int
	// MinInterval is the shortest interval of a monitor, in seconds.
	MinInterval int
	// Monitors is how many monitors there may be.
	Monitors int
	// Webhooks and CustomDomains say whether there may be any.
	Webhooks, CustomDomains bool
}

// Paid is a plan that has everything.
func Paid() Plan {
	return Plan{RequestsPerMinute: 100, MinInterval: 30, Monitors: 50, Webhooks: true, CustomDomains: true}
}

// Server is the API below /v3, and beside it, what only the double has:
//
//	HEAD, GET, POST  /heartbeat/{token}  a heartbeat, which UptimeRobot takes at another host
//	GET  /localcloud/state     what there is, without secrets: State
//	PUT  /localcloud/faults    []Fault: fail so, in place of what was to be before
type Server struct {
	settings Settings
	mux      *http.ServeMux

	mu      sync.Mutex
	account account
	// before are the lists as they were before the last change, by path.
	before  map[string][]any
	faults  []Fault
	busy    map[int64]bool
	notices []Notice
	// window is the minute in which requests are counted.
	window  time.Time
	counted int
}

// New returns a server with what its file has. Run makes its monitors work.
func New(settings Settings) (*Server, error) {
	s := &Server{settings: settings, mux: http.NewServeMux(), before: map[string][]any{}, busy: map[int64]bool{}}
	var err error
	if s.account, err = loadAccount(settings.File); err != nil {
		return nil, err
	}
	s.addHeartbeat()
	s.mux.HandleFunc("GET /heartbeat/{token}", s.beat) // and HEAD
	s.mux.HandleFunc("POST /heartbeat/{token}", s.beat)
	for _, k := range s.kinds() {
		path := "/v3" + k.path
		s.mux.HandleFunc("GET "+path, s.api(func(r *http.Request) (int, any, error) { return s.list(k, r) }))
		s.mux.HandleFunc("POST "+path, s.api(func(r *http.Request) (int, any, error) { return s.create(k, r) }))
		s.mux.HandleFunc("GET "+path+"/{id}", s.api(func(r *http.Request) (int, any, error) { return s.get(k, r) }))
		s.mux.HandleFunc("PATCH "+path+"/{id}", s.api(func(r *http.Request) (int, any, error) { return s.change(k, r) }))
		s.mux.HandleFunc("DELETE "+path+"/{id}", s.api(func(r *http.Request) (int, any, error) { return s.remove(k, r) }))
	}
	s.mux.HandleFunc("/v3/", s.api(func(r *http.Request) (int, any, error) {
		return 0, nil, refuse(http.StatusNotFound, "", "Cannot %s %s", r.Method, r.URL.Path)
	}))
	s.mux.HandleFunc("GET /localcloud/state", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.State()) })
	s.mux.HandleFunc("PUT /localcloud/faults", s.takeFaults)
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, largestBody)
	s.mux.ServeHTTP(w, r)
}

// refusal is an answer that is an error, for who asked.
type refusal struct {
	status int
	code   string
	// messages are several when the input is not valid.
	messages []string
}

func (r *refusal) Error() string { return strings.Join(r.messages, "; ") }

func refuse(status int, code, format string, args ...any) error {
	return &refusal{status, code, []string{fmt.Sprintf(format, args...)}}
}

func notFound(noun string) error {
	return refuse(http.StatusNotFound, "000-004", "%s not found", noun)
}

// body is the API's form of a refusal.
func (r *refusal) body() any {
	if r.status == http.StatusBadRequest {
		return map[string]any{"message": r.messages, "error": "Bad Request", "statusCode": r.status}
	}
	body := map[string]any{"message": r.messages[0]}
	if r.code != "" {
		body["code"] = r.code
	}
	return body
}

// api is a handler that knows the rules of all requests.
func (s *Server) api(handle func(*http.Request) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fault := s.fault(r)
		if fault != nil && !fault.CarriedOut && !fault.Stale {
			fault.answer(w)
			return
		}
		if !s.counts(w) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "ThrottlerException: Too Many Requests") // an error is that of a caller who is gone
			return
		}
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.settings.Key)) != 1 {
			answer(w, http.StatusUnauthorized, (&refusal{http.StatusUnauthorized, "003-005", []string{"Unauthorized"}}).body())
			return
		}
		s.mu.Lock()
		if fault != nil && fault.Stale {
			if stale, ok := s.before[strings.TrimPrefix(r.URL.Path, "/v3")]; ok {
				s.mu.Unlock()
				answer(w, http.StatusOK, map[string]any{"data": stale, "nextLink": nil})
				return
			}
		}
		status, body, err := handle(r)
		if err == nil && r.Method != http.MethodGet {
			err = s.account.save(s.settings.File)
		}
		s.mu.Unlock()
		var refused *refusal
		switch {
		case fault != nil && fault.CarriedOut:
			fault.answer(w)
		case errors.As(err, &refused):
			answer(w, refused.status, refused.body())
		case err != nil:
			s.settings.Log(err.Error())
			answer(w, http.StatusInternalServerError, map[string]any{"message": "Internal server error", "statusCode": 500})
		default:
			answer(w, status, body)
		}
	}
}

// counts says whether the plan has another request in this minute.
func (s *Server) counts(w http.ResponseWriter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.window) >= time.Minute {
		s.window, s.counted = now, 0
	}
	limit := s.settings.Plan.RequestsPerMinute
	ok := s.counted < limit
	if ok {
		s.counted++
	}
	reset := int(s.window.Add(time.Minute).Sub(now)/time.Second) + 1
	for name, value := range map[string]int{"X-RateLimit-Limit": limit, "X-RateLimit-Remaining": limit - s.counted, "X-RateLimit-Reset": reset} {
		w.Header().Set(name, strconv.Itoa(value))
	}
	if !ok {
		w.Header().Set("Retry-After", strconv.Itoa(reset))
	}
	return ok
}

// kind is one of the three kinds of things of an account. Its functions are
// called with the lock.
type kind struct {
	noun, path string
	// ids lists what there is, and told tells one of them as the API does.
	ids  func() []int64
	told func(id int64) any
	// write checks a request's body and makes or changes the thing; id is 0 for a
	// new one. It returns the id.
	write  func(id int64, body map[string]any) (int64, error)
	remove func(id int64)
}

func (s *Server) kinds() []kind {
	return []kind{s.monitors(), s.integrations(), s.pages()}
}

func (s *Server) list(k kind, r *http.Request) (int, any, error) {
	for name := range r.URL.Query() {
		if name != "cursor" {
			return 0, nil, refuse(http.StatusBadRequest, "", "property %s should not exist", name)
		}
	}
	after := int64(0)
	if cursor := r.URL.Query().Get("cursor"); cursor != "" {
		var err error
		if after, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return 0, nil, refuse(http.StatusBadRequest, "", "cursor is invalid")
		}
	}
	data := []any{}
	var next any
	last := after
	for _, id := range slices.Sorted(slices.Values(k.ids())) {
		if id <= after {
			continue
		}
		if len(data) == s.settings.PageSize {
			link := url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: url.Values{"cursor": {strconv.FormatInt(last, 10)}}.Encode()}
			next = link.String()
			break
		}
		data, last = append(data, k.told(id)), id
	}
	return http.StatusOK, map[string]any{"data": data, "nextLink": next}, nil
}

func (s *Server) create(k kind, r *http.Request) (int, any, error) {
	body, err := object(r)
	if err != nil {
		return 0, nil, err
	}
	before := s.snapshot(k)
	id, err := k.write(0, body)
	if err != nil {
		return 0, nil, err
	}
	s.before[k.path] = before
	s.account.Created[k.path]++
	return http.StatusCreated, k.told(id), nil
}

func (s *Server) get(k kind, r *http.Request) (int, any, error) {
	id, err := k.find(r)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, k.told(id), nil
}

func (s *Server) change(k kind, r *http.Request) (int, any, error) {
	id, err := k.find(r)
	if err != nil {
		return 0, nil, err
	}
	body, err := object(r)
	if err != nil {
		return 0, nil, err
	}
	before := s.snapshot(k)
	if _, err := k.write(id, body); err != nil {
		return 0, nil, err
	}
	s.before[k.path] = before
	s.account.Changed[k.path]++
	return http.StatusOK, k.told(id), nil
}

func (s *Server) remove(k kind, r *http.Request) (int, any, error) {
	id, err := k.find(r)
	if err != nil {
		return 0, nil, err
	}
	s.before[k.path] = s.snapshot(k)
	k.remove(id)
	s.account.Deleted[k.path]++
	return http.StatusOK, map[string]any{}, nil
}

func (s *Server) snapshot(k kind) []any {
	all := []any{}
	for _, id := range slices.Sorted(slices.Values(k.ids())) {
		all = append(all, k.told(id))
	}
	return all
}

func (k kind) find(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, refuse(http.StatusBadRequest, "", "Validation failed (numeric string is expected)")
	}
	if !slices.Contains(k.ids(), id) {
		return 0, notFound(k.noun)
	}
	return id, nil
}

// object reads the body of a request.
func object(r *http.Request) (map[string]any, error) {
	if kind := r.Header.Get("Content-Type"); kind != "application/json" {
		return nil, refuse(http.StatusUnsupportedMediaType, "", "Content-Type %q: write application/json", kind)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "", "%s", err)
	}
	var body map[string]any
	decoder := json.NewDecoder(bytes.NewReader(content))
	if err := decoder.Decode(&body); err != nil || body == nil {
		return nil, refuse(http.StatusBadRequest, "", "the body is not a JSON object")
	}
	return body, nil
}

func answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		status, text = http.StatusInternalServerError, fmt.Appendf(nil, `{"message":%q}`, err.Error())
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text) // an error is that of a caller who is gone
}

// Run makes the monitors work until the context ends.
func (s *Server) Run(ctx context.Context) {
	tick := time.NewTicker(s.settings.Second / 5)
	defer tick.Stop()
	var checks sync.WaitGroup
	defer checks.Wait()
	for {
		for _, m := range s.due() {
			checks.Go(func() { s.check(ctx, m) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
