package uptimerobot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	// confirmations is how often a page that failed is asked for again, a second
	// apart, before that is an outage. UptimeRobot takes up to half a minute for it.
	confirmations = 2
	// largestPage is the most that is read of a page, in bytes.
	largestPage = 1 << 20
)

// due returns the monitors whose time has come.
func (s *Server) due() []monitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []monitor
	now := time.Now()
	for id, m := range s.account.Monitors {
		if s.busy[id] || m.Type != typeHeartbeat && now.Before(m.Due) {
			continue
		}
		if m.Type == typeHeartbeat && (m.Status == statusUp) == s.beats(*m) {
			continue // nor is one an outage that never beat
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
	alert, to := s.record(m, reason)
	for _, webhook := range to {
		s.notify(ctx, webhook, alert)
	}
}

// wait lets a second pass.
func (s *Server) wait(ctx context.Context) {
	timer := time.NewTimer(s.settings.Second)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// record keeps what was seen. When that is news, it returns the alert and who
// hears of it.
func (s *Server) record(seen monitor, reason string) (alert, []integration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, seen.ID)
	m, ok := s.account.Monitors[seen.ID]
	if !ok || m.Revision != seen.Revision {
		return alert{}, nil // deleted, or changed, and asked for anew
	}
	m.Checks++
	was := m.Status
	status := statusUp
	if reason != "" {
		status = statusDown
	}
	if was == status {
		m.Reason = reason
		return alert{}, nil
	}
	now := time.Now().UTC()
	news := alert{monitor: *m, down: status == statusDown, reason: reason, at: now, after: now.Sub(m.Since)}
	m.Status, m.Reason, m.Since = status, reason, now
	if err := s.account.save(s.settings.File); err != nil {
		s.settings.Log(err.Error())
	}
	if was == statusNew && status == statusUp {
		return alert{}, nil
	}
	var to []integration
	for _, c := range m.Contacts {
		i := s.account.Integrations[c.ID]
		if i.Notify == notifyBoth || i.Notify == notifyDown && news.down || i.Notify == notifyUp && !news.down {
			to = append(to, *i)
		}
	}
	return news, to
}

// ask asks for a monitor's page once. It returns what is wrong with it, or "".
func (s *Server) ask(ctx context.Context, m monitor) string {
	if m.Type == typeHeartbeat {
		if s.beats(m) {
			return ""
		}
		return "No heartbeat received"
	}
	limit := time.Duration(m.Timeout) * s.settings.Second
	if m.Timeout == 0 {
		limit = 30 * s.settings.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
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
	if m.Type == typeKeyword {
		page, keyword := string(text), m.KeywordValue
		if m.KeywordCaseType == 1 {
			page, keyword = strings.ToLower(page), strings.ToLower(keyword)
		}
		if strings.Contains(page, keyword) != (m.KeywordType == keywordNotExists) {
			return "Keyword " + map[bool]string{true: "not found", false: "found"}[m.KeywordType == keywordNotExists]
		}
	}
	return ""
}
