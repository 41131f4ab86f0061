package uptimerobot_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// fault is an injected failure of the API.
type fault struct {
	// Method and Path select the requests that fail. Path is a prefix.
	Method, Path string
	Times        int // how many requests fail

	// Status, Header and Body are the response, unless one of the following is set.
	Status int
	Header map[string]string
	Body   string
	// CarriedOut processes the request before it fails.
	CarriedOut bool
	// Cut closes the connection instead of responding.
	Cut bool
	// Stale returns the list as it was before the last change.
	Stale bool
}

func (f fault) respond(w http.ResponseWriter) {
	if f.Cut {
		panic(http.ErrAbortHandler)
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write([]byte(f.Body)) // fails only if the client has disconnected
}

// faultyAPI is the API with the faults that a test injects.
type faultyAPI struct {
	api http.Handler

	mu     sync.Mutex
	faults []fault
	// before contains the list responses from before the last change, by path.
	before map[string]*httptest.ResponseRecorder
}

// Fail makes the next requests fail.
func (f *faultyAPI) Fail(faults ...fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = faults
}

// next returns the fault for a request, if any, and the stale response if the fault is stale.
func (f *faultyAPI) next(r *http.Request) (found fault, fails bool, stale *httptest.ResponseRecorder) {
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

func (f *faultyAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	failure, fails, response := f.next(r)
	if fails && !failure.CarriedOut && !failure.Stale {
		failure.respond(w)
		return
	}
	if response == nil {
		response = f.forward(r)
	}
	if failure.CarriedOut {
		failure.respond(w)
		return
	}
	maps.Copy(w.Header(), response.Header())
	w.WriteHeader(response.Code)
	_, _ = w.Write(response.Body.Bytes()) // fails only if the client has disconnected
}

// forward sends a request to the API and records the list as it was before the request changed it.
func (f *faultyAPI) forward(r *http.Request) *httptest.ResponseRecorder {
	list, before, response := "", httptest.NewRecorder(), httptest.NewRecorder()
	if path := strings.Split(r.URL.Path, "/"); path[1] == "v3" && r.Method != http.MethodGet {
		list = "/v3/" + path[2]
		request := httptest.NewRequestWithContext(r.Context(), http.MethodGet, list, nil)
		request.Header = r.Header
		f.api.ServeHTTP(before, request)
	}
	f.api.ServeHTTP(response, r)
	if list != "" && response.Code < http.StatusBadRequest {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.before[list] = before
	}
	return response
}
