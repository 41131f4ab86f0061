package uptimerobot

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"immutable-infra/localcloud/internal/https"
	"immutable-infra/localcloud/internal/state"
)

const (
	// confirmations is how often a failed probe is repeated, one second apart, before the monitor goes down.
	// UptimeRobot takes up to half a minute to confirm an outage.
	confirmations = 2
	maxPageSize   = 1 << 20 // how much of a page is read, in bytes

	maxDeliveries  = 3                // attempts to deliver an alert to a webhook
	maxNotices     = 1000             // the notices that are kept: more than any test causes
	webhookTimeout = 15 * time.Second // for one attempt

	heartbeatInterval, heartbeatGrace = 60, 60 // in seconds
)

// Run runs the monitors until ctx is done.
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

// due returns the monitors that are due for a check, marks them busy and schedules their next check.
func (s *Server) due() []monitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []monitor
	now := time.Now()
	for id, m := range s.account.Monitors {
		skip := now.Before(m.Due)
		if m.Type == typeHeartbeat {
			// Due when the status changes. A monitor that never received a heartbeat stays unchecked.
			skip = (m.Status == statusUp) == s.heartbeatOnTime(*m)
		}
		if s.busy[id] || skip {
			continue
		}
		s.busy[id] = true
		m.Due = now.Add(time.Duration(m.Interval) * s.settings.Second)
		due = append(due, *m)
	}
	return due
}

// check probes a monitor and notifies its contacts when it goes down or recovers.
func (s *Server) check(ctx context.Context, m monitor) {
	reason := s.probe(ctx, m)
	for range confirmations {
		if reason == "" || m.Type == typeHeartbeat || m.Status == statusDown || ctx.Err() != nil {
			break
		}
		s.wait(ctx)
		reason = s.probe(ctx, m)
	}
	if ctx.Err() != nil {
		return
	}
	notice, webhooks := s.record(m, reason)
	for _, webhook := range webhooks {
		s.notify(ctx, webhook, notice)
	}
}

// wait sleeps for one second of the settings, or until ctx is done.
func (s *Server) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.settings.Second)
	defer cancel()
	<-ctx.Done()
}

// record stores the result of a check; reason is "" if the monitor is up. If the status changed, it returns the notice
// and the webhooks to notify.
func (s *Server) record(checked monitor, reason string) (Notice, []integration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, checked.ID)
	m, ok := s.account.Monitors[checked.ID]
	if !ok || m.Revision != checked.Revision {
		return Notice{}, nil // deleted, or changed and due again
	}
	m.Checks++
	previous, status, event := m.Status, statusUp, notifyUp
	if reason != "" {
		status, event = statusDown, notifyDown
	}
	m.Reason = reason
	if previous == status {
		return Notice{}, nil
	}
	notice := newNotice(m)
	m.Status, m.Since = status, notice.At
	s.save()
	if previous == statusNew && status == statusUp {
		return Notice{}, nil
	}
	var webhooks []integration
	for _, c := range m.Contacts {
		if i := s.account.Integrations[c.ID]; i.Notify == notifyBoth || i.Notify == event {
			webhooks = append(webhooks, *i)
		}
	}
	return notice, webhooks
}

// save persists a change that no API request made, and logs an error.
func (s *Server) save() {
	if err := state.WriteJSON(s.settings.File, s.account); err != nil {
		s.settings.Log(err.Error())
	}
}

// probe checks a monitor once and returns why it is down, or "" if it is up.
func (s *Server) probe(ctx context.Context, m monitor) string {
	if m.Type == typeHeartbeat {
		if s.heartbeatOnTime(m) {
			return ""
		}
		return "No heartbeat received"
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmp.Or(m.Timeout, 30))*s.settings.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, m.Method, m.URL, nil)
	if err != nil {
		return err.Error()
	}
	request.Header.Set("User-Agent", "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)")
	response, err := s.settings.Client.Do(request)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) {
			return "Connection Timeout"
		}
		return err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxPageSize))
	if err != nil {
		return err.Error()
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Sprintf("HTTP %d - %s", response.StatusCode, http.StatusText(response.StatusCode))
	}
	page, keyword := string(text), m.KeywordValue
	if m.KeywordCaseType == 1 {
		page, keyword = strings.ToLower(page), strings.ToLower(keyword)
	}
	switch found := strings.Contains(page, keyword); {
	case m.Type == typeKeyword && found && m.KeywordType != keywordNotExists:
		return "Keyword found"
	case m.Type == typeKeyword && !found && m.KeywordType == keywordNotExists:
		return "Keyword not found"
	}
	return ""
}

// addHeartbeat adds the heartbeat monitor of the settings to the account, unless it exists.
func (s *Server) addHeartbeat() {
	if s.settings.Heartbeat == "" || s.heartbeatMonitor(s.settings.Heartbeat) != nil {
		return
	}
	id := s.account.newID()
	s.account.Monitors[id] = &monitor{
		ID: id, FriendlyName: "heartbeat", Type: typeHeartbeat, Token: s.settings.Heartbeat, Contacts: []contact{},
		Interval: heartbeatInterval, Grace: heartbeatGrace, Status: statusNew, Since: time.Now().UTC(),
	}
}

// heartbeatMonitor returns the heartbeat monitor with that token, or nil. The caller holds the lock.
func (s *Server) heartbeatMonitor(token string) *monitor {
	for _, m := range s.account.Monitors {
		if m.Type == typeHeartbeat && subtle.ConstantTimeCompare([]byte(m.Token), []byte(token)) == 1 {
			return m
		}
	}
	return nil
}

// receiveHeartbeat records a heartbeat. Run updates the status of the monitor.
func (s *Server) receiveHeartbeat(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.heartbeatMonitor(r.PathValue("token"))
	if m == nil {
		https.Answer(w, http.StatusNotFound, map[string]any{"message": "Heartbeat not found"})
		return
	}
	m.LastBeat = time.Now().UTC()
	m.Beats++
	s.save()
	https.Answer(w, http.StatusOK, map[string]any{"message": "OK"})
}

// heartbeatOnTime reports whether the monitor's last heartbeat is younger than the sum of its interval and grace.
func (s *Server) heartbeatOnTime(m monitor) bool {
	return time.Since(m.LastBeat) < time.Duration(m.Interval+m.Grace)*s.settings.Second
}

// Notice is an alert that was sent to a webhook.
type Notice struct {
	At      time.Time `json:"at"`
	Monitor string    `json:"monitor"`
	Type    string    `json:"type"`    // Down or Up
	Details string    `json:"details"` // the reason
	Error   string    `json:"error"`   // why the delivery failed, or ""

	variables map[string]string // for the webhook's template
}

// newNotice returns the notice of a status change. m has the new Reason, but still the old Since.
func newNotice(m *monitor) Notice {
	n := Notice{At: time.Now().UTC(), Monitor: m.FriendlyName, Type: "Up", Details: "Successful response received"}
	alertType := "2"
	if m.Reason != "" {
		n.Type, n.Details, alertType = "Down", m.Reason, "1"
	}
	n.variables = map[string]string{
		"monitorID":             strconv.FormatInt(m.ID, 10),
		"monitorURL":            m.URL,
		"monitorFriendlyName":   m.FriendlyName,
		"alertType":             alertType,
		"alertTypeFriendlyName": n.Type,
		"alertDetails":          n.Details,
		"alertDateTime":         strconv.FormatInt(n.At.Unix(), 10),
		"alertDuration":         strconv.Itoa(int(n.At.Sub(m.Since).Seconds())),
	}
	return n
}

// notify delivers an alert to a webhook, with retries.
func (s *Server) notify(ctx context.Context, webhook integration, notice Notice) {
	for i := range maxDeliveries {
		if i > 0 {
			s.wait(ctx)
		}
		err := s.deliver(ctx, webhook, notice.variables)
		if err == nil {
			notice.Error = ""
			break
		}
		notice.Error = err.Error()
		s.settings.Log(fmt.Sprintf("%s alert for %s: %v", notice.Type, notice.Monitor, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = append(s.notices, notice)
	s.notices = s.notices[max(0, len(s.notices)-maxNotices):]
}

// deliver calls a webhook once. The error omits the URL, which is a secret.
func (s *Server) deliver(ctx context.Context, webhook integration, variables map[string]string) error {
	query := url.Values{}
	var replacements []string
	for name, value := range variables {
		query.Set(name, value)
		replacements = append(replacements, "*"+name+"*", escapeJSON(value))
	}
	address := webhook.URL
	if webhook.SendAsQuery {
		address += query.Encode()
	}
	// The template with its variables replaced is sent as JSON or as form fields.
	body, contentType := strings.NewReplacer(replacements...).Replace(webhook.PostValue), "application/json"
	if !webhook.SendAsJSON {
		var fields map[string]any
		_ = json.Unmarshal([]byte(body), &fields) // valid JSON; if it is not an object, the form is empty
		form := url.Values{}
		for name, value := range fields {
			form.Set(name, fmt.Sprint(value))
		}
		body, contentType = form.Encode(), "application/x-www-form-urlencoded"
	}
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return errors.New("invalid webhook URL")
	}
	request.Header.Set("Content-Type", contentType)
	response, err := s.settings.Client.Do(request)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return fmt.Errorf("cannot call the webhook: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err != nil {
		return fmt.Errorf("cannot read the webhook's response: %w", err)
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("webhook responded with %s: %s", response.Status, text)
	}
	return nil
}
