package awsapi

import (
	"fmt"
	"net/http"
	"strings"
)

// refusal is an error in the form of AWS's APIs: a code that programs know, and
// a message for people.
type refusal struct {
	code, message string
}

func refuse(code, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func (r *refusal) Error() string { return r.code + ": " + r.message }

// status is the HTTP status that AWS answers with.
func (r *refusal) status() int {
	switch {
	case r.code == "InternalFailure":
		return http.StatusInternalServerError
	// KMS, whose codes end so, says 400 to all that is the caller's fault.
	case strings.HasSuffix(r.code, "Exception"), r.code == "InvalidAction", r.code == "MalformedQueryString":
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}
