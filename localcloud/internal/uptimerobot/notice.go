package uptimerobot

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// deliveries is how often a web-hook is called that does not take an alert.
	deliveries = 3
	// noticesKept is how many notices are remembered: more than any test makes.
	noticesKept = 1000
	// noticeTimeout is how long a web-hook may take.
	noticeTimeout = 15 * time.Second
)

// alert is that a monitor went down, or came back.
type alert struct {
	monitor monitor
	down    bool
	reason  string
	at      time.Time
	// after is how long it had been in the state from before.
	after time.Duration
}

// Notice is an alert that a web-hook was called for.
type Notice struct {
	At      time.Time `json:"at"`
	Monitor string    `json:"monitor"`
	// Type is Down or Up, and Details says why.
	Type    string `json:"type"`
	Details string `json:"details"`
	// Error is why it was not taken, or "".
	Error string `json:"error"`
}

// variables are what an alert can be told with.
func (a alert) variables() map[string]string {
	kind, name, details := "2", "Up", "Successful response received"
	if a.down {
		kind, name, details = "1", "Down", a.reason
	}
	return map[string]string{
		"monitorID":             strconv.FormatInt(a.monitor.ID, 10),
		"monitorURL":            a.monitor.URL,
		"monitorFriendlyName":   a.monitor.FriendlyName,
		"alertType":             kind,
		"alertTypeFriendlyName": name,
		"alertDetails":          details,
		"alertDateTime":         strconv.FormatInt(a.at.Unix(), 10),
		"alertDuration":         strconv.Itoa(int(a.after.Seconds())),
	}
}

// notify calls a web-hook until it takes the alert, or for some times.
func (s *Server) notify(ctx context.Context, to integration, a alert) {
	variables := a.variables()
	notice := Notice{At: a.at, Monitor: a.monitor.FriendlyName, Type: variables["alertTypeFriendlyName"], Details: variables["alertDetails"]}
	for i := range deliveries {
		if i > 0 {
			s.wait(ctx)
		}
		notice.Error = ""
		if err := s.deliver(ctx, to, variables); err != nil {
			notice.Error = err.Error()
			s.settings.Log(fmt.Sprintf("%s of %s: %v", notice.Type, notice.Monitor, err))
			continue
		}
		break
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = append(s.notices, notice)
	s.notices = s.notices[max(0, len(s.notices)-noticesKept):]
}

// deliver calls a web-hook once. Its error does not have the URL, which is a secret.
func (s *Server) deliver(ctx context.Context, to integration, variables map[string]string) error {
	address := to.URL
	if to.SendAsQuery {
		query := url.Values{}
		for name, value := range variables {
			query.Set(name, value)
		}
		address += query.Encode()
	}
	body, contentType, err := fill(to, variables)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("the web-hook's URL cannot be used")
	}
	request.Header.Set("Content-Type", contentType)
	response, err := s.settings.Client.Do(request)
	if err != nil {
		if inner, ok := err.(*url.Error); ok {
			err = inner.Err
		}
		return fmt.Errorf("call the web-hook: %w", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err != nil {
		return fmt.Errorf("call the web-hook: %w", err)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("the web-hook answers %s: %s", response.Status, said)
	}
	return nil
}

// fill is the body of a call: the template with the variables in it, as JSON or
// as the fields of a form.
func fill(to integration, variables map[string]string) (body, contentType string, err error) {
	var template any
	if err := json.Unmarshal([]byte(to.PostValue), &template); err != nil {
		return "", "", fmt.Errorf("the template of the web-hook: %w", err)
	}
	filled := fillValue(template, variables)
	if to.SendAsJSON {
		encoded, err := json.Marshal(filled)
		if err != nil {
			return "", "", fmt.Errorf("the template of the web-hook: %w", err)
		}
		return string(encoded), "application/json", nil
	}
	form := url.Values{}
	if fields, ok := filled.(map[string]any); ok {
		for name, value := range fields {
			form.Set(name, fmt.Sprint(value))
		}
	}
	return form.Encode(), "application/x-www-form-urlencoded", nil
}

// fillValue replaces *variable* in all strings of a value.
func fillValue(value any, variables map[string]string) any {
	switch value := value.(type) {
	case string:
		for name, is := range variables {
			value = strings.ReplaceAll(value, "*"+name+"*", is)
		}
		return value
	case []any:
		filled := make([]any, 0, len(value))
		for _, each := range value {
			filled = append(filled, fillValue(each, variables))
		}
		return filled
	case map[string]any:
		filled := map[string]any{}
		for name, each := range value {
			filled[name] = fillValue(each, variables)
		}
		return filled
	}
	return value
}
