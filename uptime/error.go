package uptime

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// APIError is an answer of the API that is a refusal.
type APIError struct {
	// Status is that of HTTP, Code the API's own, or "".
	Status int
	Code   string
	// Message is what the API says, without secrets.
	Message string
}

func (e *APIError) Error() string {
	told := fmt.Sprintf("status %d", e.Status)
	if e.Code != "" {
		told += ", code " + e.Code
	}
	if e.Message != "" {
		told += ": " + e.Message
	}
	return told
}

// longestMessage is how much of an answer that is not in the API's form is told,
// in bytes.
const longestMessage = 300

// newAPIError reads a refusal. Most are {"message": ..., "code": ...}, where the
// message is a text or a list of them; some are just text.
func newAPIError(status int, body []byte, secrets redactor) *APIError {
	e := &APIError{Status: status}
	var read struct {
		Message json.RawMessage
		Code    text
	}
	if json.Unmarshal(body, &read) == nil && len(read.Message) > 0 {
		e.Code = secrets.redact(string(read.Code))
		var one text
		var list []text
		switch {
		case json.Unmarshal(read.Message, &one) == nil:
			e.Message = string(one)
		case json.Unmarshal(read.Message, &list) == nil:
			for i, each := range list {
				if i > 0 {
					e.Message += "; "
				}
				e.Message += string(each)
			}
		default:
			e.Message = string(read.Message)
		}
	} else {
		e.Message = strings.TrimSpace(string(body))
	}
	// Before it is cut, or a part of a secret would be left.
	e.Message = secrets.redact(e.Message)
	if len(e.Message) > longestMessage {
		e.Message = e.Message[:longestMessage] + "..."
	}
	return e
}

// lostError is a request that may or may not have been carried out: there was no
// answer, or one that says nothing about it.
type lostError struct{ cause error }

func (e *lostError) Error() string { return e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// maybeMade says whether a creation that ended with the error may have made
// something all the same. The API is known to answer so with 404, and with 409
// when the list does not show yet what is there.
func maybeMade(err error) bool {
	var lost *lostError
	return errors.As(err, &lost) || statusOf(err) == http.StatusNotFound || statusOf(err) == http.StatusConflict
}

// statusOf is the HTTP status of a refusal, 0 where it is none.
func statusOf(err error) int {
	var refusal *APIError
	if errors.As(err, &refusal) {
		return refusal.Status
	}
	return 0
}

// advise adds to an error what can be done about it.
func advise(err error) error {
	switch statusOf(err) {
	case http.StatusUnauthorized:
		return fmt.Errorf("UptimeRobot refuses the API key: write a main API key of the account, from its page Integrations & API: "+
			"pulumi config set --secret uptimeRobotKey: %w", err)
	case http.StatusPaymentRequired, http.StatusForbidden:
		return fmt.Errorf("UptimeRobot refuses it to this account or key: a read-only key may change nothing, and not every plan has "+
			"web-hooks (uptimeRobotWebhook), a status page under a name of one's own (statusPage), short intervals (uptimeRobotInterval) "+
			"or another monitor; do without it, or change the plan: %w", err)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return fmt.Errorf("UptimeRobot takes it for wrong: %w", err)
	case http.StatusConflict:
		return fmt.Errorf("UptimeRobot has one like it already, under another name; delete that, give it this name, or, if it is a web-hook of another stack, give this stack another routing key in uptimeRobotWebhook: %w", err)
	}
	return err
}
