package uptime

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// APIError is a response that rejects a request.
type APIError struct {
	// Status is the HTTP status, Code the API's own, or "".
	Status int
	Code   string
	// Message is the API's message, without secrets.
	Message string
}

func (e *APIError) Error() string {
	message := fmt.Sprintf("status %d", e.Status)
	if e.Code != "" {
		message += ", code " + e.Code
	}
	if e.Message != "" {
		message += ": " + e.Message
	}
	return message
}

// maxMessage is how many bytes of an API message are quoted.
const maxMessage = 300

// newAPIError parses a rejection. Most are {"message": ..., "code": ...}, where the message is a string or a list of
// strings; some are plain text.
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
	// Redact before truncating, or a part of a secret could remain.
	e.Message = secrets.redact(e.Message)
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage] + "..."
	}
	return e
}

// lostError is the error of a request whose outcome is unknown, because there was no response or an ambiguous one.
type lostError struct{ cause error }

func (e *lostError) Error() string { return e.cause.Error() }
func (e *lostError) Unwrap() error { return e.cause }

// outcomeUnknown reports whether a creation that returned this error may have succeeded nevertheless. The API is
// known to respond with 404 in this case, and with 409 while the list does not show an existing resource yet.
func outcomeUnknown(err error) bool {
	var lost *lostError
	return errors.As(err, &lost) || statusOf(err) == http.StatusNotFound || statusOf(err) == http.StatusConflict
}

// statusOf returns the HTTP status of a rejection, or 0 for other errors.
func statusOf(err error) int {
	var rejection *APIError
	if errors.As(err, &rejection) {
		return rejection.Status
	}
	return 0
}

// withHint adds instructions to an error.
func withHint(err error) error {
	switch statusOf(err) {
	case http.StatusUnauthorized:
		return fmt.Errorf("UptimeRobot rejected the API key: set a main API key of the account, from its page Integrations "+
			"& API (pulumi config set --secret uptimeRobotKey): %w", err)
	case http.StatusPaymentRequired, http.StatusForbidden:
		return fmt.Errorf("this key or plan lacks the permission; a read-only key cannot make changes, and not every plan "+
			"has web-hooks (uptimeRobotWebhook), a custom domain for the status page (statusPage), short intervals "+
			"(uptimeRobotInterval) or another monitor: change the plan, or unset the setting: %w", err)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return fmt.Errorf("UptimeRobot rejected the request: %w", err)
	case http.StatusConflict:
		return fmt.Errorf("UptimeRobot already has an equal resource under another name: delete it or rename it; if it is "+
			"the web-hook of another stack, set another routing key in uptimeRobotWebhook: %w", err)
	}
	return err
}
