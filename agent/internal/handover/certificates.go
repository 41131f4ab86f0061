package handover

import (
	"strings"
	"time"
)

const (
	// firstRetry is the delay from the arrival of the VIP to the first check for missing certificates, and
	// lastRetry the longest delay between two checks. In between, the delay doubles: Let's Encrypt allows five
	// failures per hour for each name.
	firstRetry = 2 * time.Minute
	lastRetry  = time.Hour
)

// Certificates are this server's certificates.
type Certificates interface {
	// Missing returns the site's names without a certificate.
	Missing() ([]string, error)
}

// certificateRetry decides when the proxy requests missing certificates again.
type certificateRetry struct {
	pause time.Duration
	next  time.Time
	// missed reports whether the last check found missing certificates.
	missed bool
}

// restart starts with the shortest pause: the proxy has just requested the missing certificates.
func (r *certificateRetry) restart() {
	r.pause, r.next = firstRetry, time.Now().Add(firstRetry)
}

// requestCertificates makes the proxy request missing certificates again: a DNS record may have been late, or the
// certificate authority unreachable.
func (w *Watcher) requestCertificates() {
	r := &w.missing
	if time.Now().Before(r.next) {
		return
	}
	missing, err := w.Certificates.Missing()
	if !w.throttle.ok("check the certificates", err) {
		r.next = time.Now().Add(firstRetry)
		return
	}
	if len(missing) == 0 {
		if r.missed {
			w.Log.Info("all certificates are present")
		}
		*r = certificateRetry{pause: firstRetry, next: time.Now().Add(lastRetry)}
		return
	}
	r.missed = true
	r.pause = min(2*r.pause, lastRetry)
	r.next = time.Now().Add(r.pause)
	w.Log.Warn("certificates are missing: requesting them again",
		"names", strings.Join(missing, ","), "retryIn", r.pause)
	w.throttle.ok("switch the proxy's state", w.Proxy.Set(Serving))
}
