package uptimerobot

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Fault is a failure on purpose.
type Fault struct {
	// Method and Path say which requests fail: those of the method whose path
	// begins so.
	Method string `json:"method"`
	Path   string `json:"path"`
	// Times is how many requests fail so.
	Times int `json:"times"`

	// Status, Header and Body are the answer, unless one of the following is set.
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   string            `json:"body"`
	// CarriedOut does what was asked for before.
	CarriedOut bool `json:"carriedOut"`
	// Cut closes the connection in place of an answer.
	Cut bool `json:"cut"`
	// Stale answers for a list as it was before the last change.
	Stale bool `json:"stale"`
}

func (f *Fault) answer(w http.ResponseWriter) {
	if f.Cut {
		panic(http.ErrAbortHandler)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // an error is that of a caller who is gone
}

// fault is how a request fails, or nil.
func (s *Server) fault(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		f := &s.faults[i]
		if f.Times > 0 && f.Method == r.Method && strings.HasPrefix(r.URL.Path, f.Path) {
			f.Times--
			used := *f
			return &used
		}
	}
	return nil
}

// Fail makes the next requests fail.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = faults
}

func (s *Server) takeFaults(w http.ResponseWriter, r *http.Request) {
	var faults []Fault
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&faults); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{
			"message": err.Error() + `: write [{"method": "GET", "path": "/v3/monitors", "times": 2, "status": 503}]`})
		return
	}
	for _, f := range faults {
		if f.Times < 1 || f.Method == "" || (f.Status < 200 || f.Status > 599) && !f.Cut && !f.Stale {
			answer(w, http.StatusBadRequest, map[string]string{"message": "a fault needs a method, times, and a status from 200 to 599, cut or stale"})
			return
		}
	}
	s.Fail(faults...)
	w.WriteHeader(http.StatusNoContent)
}
