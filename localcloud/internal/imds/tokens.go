package imds

import (
	"crypto/rand"
	"sync"
	"time"
)

// tokens are the session tokens that are valid; they end with the process, and
// callers then ask for a new one.
type tokens struct {
	mu     sync.Mutex
	issued map[string]session
}

type session struct {
	instance string
	expires  time.Time
}

func (t *tokens) issue(instance string, lifetime time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for token, session := range t.issued {
		if now.After(session.expires) {
			delete(t.issued, token)
		}
	}
	token := rand.Text() + rand.Text()
	t.issued[token] = session{instance: instance, expires: now.Add(lifetime)}
	return token
}

// check returns how long a token of an instance is still valid.
func (t *tokens) check(token, instance string) (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	session, found := t.issued[token]
	left := time.Until(session.expires)
	if !found || session.instance != instance || left <= 0 {
		return 0, false
	}
	return left, true
}
