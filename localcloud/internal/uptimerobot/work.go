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
	// confirmations is how often a page that failed is asked for again, a second
	// apart, before that is an outage. UptimeRobot takes up to half a minute for it.
	confirmations = 2
	largestPage   = 1 << 20 // the most that is read of a page, in bytes

	deliveries    = 3                // how often a web-hook is called that does not take an alert
	noticesKept   = 1000             // how many notices are remembered: more than any test makes
	noticeTimeout = 15 * time.Second // how long a web-hook may take

	heartbeatInterval = 60 // of the heartbeat monitor, in seconds
	heartbeatGrace    = 60 // the same
)

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

// due returns the monitors whose time has come.
func (s *Server) due() []monitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []monitor
	now := time.Now()
	for id, m := range s.account.Monitors {
		waits := now.Before(m.Due)
		if m.Type == typeHeartbeat {
			waits = (m.Status == statusUp) == s.beats(*m) // nor is one an outage that never beat
		}
		if s.busy[id] || waits {
			continue
		}
		s.busy[id] = true
		m.Due = now.Add(time.Duration(m.Interval) * s.settings.Second)
		due = append(due, *m)
	}
	return due
}

// check asks for a monitor's page, and tells when it went down or came back.
func (s *Server) check(ctx context.Context, m monitor) {
	reason := s.ask(ctx, m)
	for range confirmations {
		if reason == "" || m.Type == typeHeartbeat || m.Status == statusDown || ctx.Err() != nil {
			break
		}
		s.wait(ctx)
		reason = s.ask(ctx, m)
	}
	if ctx.Err() != nil {
		return
	}
	notice, to := s.record(m, reason)
	for _, webhook := range to {
		s.notify(ctx, webhook, notice)
	}
}

func (s *Server) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.settings.Second)
	defer cancel()
	<-ctx.Done()
}

// record keeps what was seen. When that is news, it returns the notice and who gets it.
func (s *Server) record(seen monitor, reason string) (Notice, []integration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, seen.ID)
	m, ok := s.account.Monitors[seen.ID]
	if !ok || m.Revision != seen.Revision {
		return Notice{}, nil // deleted, or changed, and checked again
	}
	m.Checks++
	was, status, wants := m.Status, statusUp, notifyUp
	if reason != "" {
		status, wants = statusDown, notifyDown
	}
	m.Reason = reason
	if was == status {
		return Notice{}, nil
	}
	news := newNotice(m)
	m.Status, m.Since = status, news.At
	s.save()
	if was == statusNew && status == statusUp {
		return Notice{}, nil
	}
	var to []integration
	for _, c := range m.Contacts {
		if i := s.account.Integrations[c.ID]; i.Notify == notifyBoth || i.Notify == wants {
			to = append(to, *i)
		}
	}
	return news, to
}

// save keeps the account after work that no request caused.
func (s *Server) save() {
	if err := state.WriteJSON(s.settings.File, s.account); err != nil {
		s.settings.Log(err.Error())
	}
}

// ask asks for a monitor's page once. It returns what is wrong with it, or "".
func (s *Server) ask(ctx context.Context, m monitor) string {
	if m.Type == typeHeartbeat {
		if s.beats(m) {
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
	text, err := io.ReadAll(io.LimitReader(response.Body, largestPage))
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

// addHeartbeat adds the heartbeat monitor if it is set and the account's file has none.
func (s *Server) addHeartbeat() {
	if s.settings.Heartbeat == "" || s.heartbeat(s.settings.Heartbeat) != nil {
		return
	}
	id := s.account.newID()
	s.account.Monitors[id] = &monitor{
		ID: id, FriendlyName: "heartbeat", Type: typeHeartbeat, Token: s.settings.Heartbeat, Contacts: []contact{},
		Interval: heartbeatInterval, Grace: heartbeatGrace, Status: statusNew, Since: time.Now().UTC(),
	}
}

// heartbeat is the monitor with a token, or nil. The caller has the lock.
func (s *Server) heartbeat(token string) *monitor {
	for _, m := range s.account.Monitors {
		if m.Type == typeHeartbeat && subtle.ConstantTimeCompare([]byte(m.Token), []byte(token)) == 1 {
			return m
		}
	}
	return nil
}

// beat takes a heartbeat. Run finds what it means.
func (s *Server) beat(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.heartbeat(r.PathValue("token"))
	if m == nil {
		https.Answer(w, http.StatusNotFound, map[string]any{"message": "Heartbeat not found"})
		return
	}
	m.LastBeat = time.Now().UTC()
	m.Beats++
	s.save()
	https.Answer(w, http.StatusOK, map[string]any{"message": "OK"})
}

// beats reports whether a monitor's last heartbeat is younger than its interval and grace together.
func (s *Server) beats(m monitor) bool {
	return time.Since(m.LastBeat) < time.Duration(m.Interval+m.Grace)*s.settings.Second
}

// Notice is an alert that a web-hook was called for.
type Notice struct {
	At      time.Time `json:"at"`
	Monitor string    `json:"monitor"`
	Type    string    `json:"type"`    // Down or Up
	Details string    `json:"details"` // why it is so
	Error   string    `json:"error"`   // why it was not taken, or ""

	variables map[string]string // for a web-hook's template
}

// newNotice says how a monitor is, by its Reason, after it was otherwise since Since.
func newNotice(m *monitor) Notice {
	n := Notice{At: time.Now().UTC(), Monitor: m.FriendlyName, Type: "Up", Details: "Successful response received"}
	kind := "2"
	if m.Reason != "" {
		n.Type, n.Details, kind = "Down", m.Reason, "1"
	}
	n.variables = map[string]string{
		"monitorID":             strconv.FormatInt(m.ID, 10),
		"monitorURL":            m.URL,
		"monitorFriendlyName":   m.FriendlyName,
		"alertType":             kind,
		"alertTypeFriendlyName": n.Type,
		"alertDetails":          n.Details,
		"alertDateTime":         strconv.FormatInt(n.At.Unix(), 10),
		"alertDuration":         strconv.Itoa(int(n.At.Sub(m.Since).Seconds())),
	}
	return n
}

// notify calls a web-hook until it takes the alert, or for some times.
func (s *Server) notify(ctx context.Context, to integration, notice Notice) {
	for i := range deliveries {
		if i > 0 {
			s.wait(ctx)
		}
		err := s.deliver(ctx, to, notice.variables)
		if err == nil {
			notice.Error = ""
			break
		}
		notice.Error = err.Error()
		s.settings.Log(fmt.Sprintf("%s of %s: %v", notice.Type, notice.Monitor, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notices = append(s.notices, notice)
	s.notices = s.notices[max(0, len(s.notices)-noticesKept):]
}

// deliver calls a web-hook once. Its error does not have the URL, which is a secret.
func (s *Server) deliver(ctx context.Context, to integration, variables map[string]string) error {
	query := url.Values{}
	var marks []string
	for name, value := range variables {
		query.Set(name, value)
		marks = append(marks, "*"+name+"*", inJSON(value))
	}
	address := to.URL
	if to.SendAsQuery {
		address += query.Encode()
	}
	// The template with the variables in it, as JSON or as the fields of a form.
	body, contentType := strings.NewReplacer(marks...).Replace(to.PostValue), "application/json"
	if !to.SendAsJSON {
		var fields map[string]any
		_ = json.Unmarshal([]byte(body), &fields) // it is JSON; a form has the fields of an object only
		form := url.Values{}
		for name, value := range fields {
			form.Set(name, fmt.Sprint(value))
		}
		body, contentType = form.Encode(), "application/x-www-form-urlencoded"
	}
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return errors.New("the web-hook's URL cannot be used")
	}
	request.Header.Set("Content-Type", contentType)
	response, err := s.settings.Client.Do(request)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
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
