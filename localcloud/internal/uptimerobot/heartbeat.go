package uptimerobot

import (
	"crypto/subtle"
	"net/http"
	"time"
)

const (
	// heartbeatInterval and heartbeatGrace are the monitor's settings, in seconds.
	heartbeatInterval = 60
	heartbeatGrace    = 60
)

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
		answer(w, http.StatusNotFound, map[string]any{"message": "Heartbeat not found"})
		return
	}
	m.LastBeat = time.Now().UTC()
	m.Beats++
	if err := s.account.save(s.settings.File); err != nil {
		s.settings.Log(err.Error())
	}
	answer(w, http.StatusOK, map[string]any{"message": "OK"})
}

// beats reports whether a monitor's last heartbeat is younger than its interval and grace together.
func (s *Server) beats(m monitor) bool {
	return time.Since(m.LastBeat) < time.Duration(m.Interval+m.Grace)*s.settings.Second
}
