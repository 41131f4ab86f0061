package uptimerobot_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// fault is a failure on purpose of the API.
type fault struct {
	// Method and Path say which requests fail: those of the method whose path begins so.
	Method, Path string
	// Times is how many requests fail so.
	Times int

	// Status, Header and Body are the answer, unless one of the following is set.
	Status int
	Header map[string]string
	Body   string
	// CarriedOut does what was asked for before.
	CarriedOut bool
	// Cut closes the connection in place of an answer.
	Cut bool
	// Stale answers for a list as it was before the last change.
	Stale bool
}

func (f fault) answer(w http.ResponseWriter) {
	if f.Cut {
		panic(http.ErrAbortHandler)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // an error is that of a caller who is gone
}

// faulty is the API, which fails as a test says.
type faulty struct {
	api http.Handler

	mu     sync.Mutex
	faults []fault
	// before are the answers for lists as they were before the last change, by path.
	before map[string]*httptest.ResponseRecorder
}

// Fail makes the next requests fail.
func (f *faulty) Fail(faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// next is how a request fails, and the stale answer where it is to get that.
func (f *faulty) next(r *http.Request) (found fault, fails bool, stale *httptest.ResponseRecorder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.faults {
		fault := &f.faults[i]
		if fault.Times > 0 && fault.Method == r.Method && strings.HasPrefix(r.URL.Path, fault.Path) {
			fault.Times--
			if fault.Stale {
				stale = f.before[r.URL.Path]
			}
			return *fault, true, stale
		}
	}
	return fault{}, false, nil
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	failure, fails, answer := f.next(r)
	if fails && !failure.CarriedOut && !failure.Stale {
		failure.answer(w)
		return
	}
	if answer == nil {
		answer = f.ask(r)
	}
	if failure.CarriedOut {
		failure.answer(w)
		return
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // an error is that of a caller who is gone
}

// ask asks the API, and remembers the list that the request changes.
func (f *faulty) ask(r *http.Request) *httptest.ResponseRecorder {
	list, before, answer := "", httptest.NewRecorder(), httptest.NewRecorder()
	if path := strings.Split(r.URL.Path, "/"); path[1] == "v3" && r.Method != http.MethodGet {
		list = "/v3/" + path[2]
		request := httptest.NewRequestWithContext(r.Context(), http.MethodGet, list, nil)
		request.Header = r.Header
		f.api.ServeHTTP(before, request)
	}
	f.api.ServeHTTP(answer, r)
	if list != "" && answer.Code < http.StatusBadRequest {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.before[list] = before
	}
	return answer
}
