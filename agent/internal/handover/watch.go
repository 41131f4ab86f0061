package handover

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/server/report"
)

// Data is what a server collects and its successor continues. Each method may be called again,
// whether it failed, was interrupted or succeeded.
type Data interface {
	// Release stops collecting and uploads what the bucket lacks.
	Release(ctx context.Context) error
	// Resume starts collecting where no other server does: this one is the first, or its successor
	// did not take the VIP.
	Resume(ctx context.Context) error
	// Restore downloads what the previous server uploaded, and starts collecting.
	Restore(ctx context.Context) error
}

// Watcher runs for the whole life of a server. While the server holds the VIP, it makes the proxy serve, records
// the holder, and hands over to a successor that requests it. Its states are those of type state.
type Watcher struct {
	Server       string
	VIP          netip.Addr
	Store        Store
	Metadata     Metadata
	Data         Data
	Proxy        Proxy
	Certificates Certificates
	// HolderFile exists while this server is recorded as the holder of the VIP; "" for none.
	HolderFile string
	// Poll is the pause between two checks.
	Poll time.Duration
	// Drain is how long the proxy asks visitors to reconnect before the server hands over.
	Drain time.Duration
	Log   *slog.Logger

	throttle errorThrottle
	state    state
	holder   holderRecord
	missing  certificateRetry
	// proxy is the state of the proxy, or "" while that is unknown.
	proxy ProxyState
	// drained is when the proxy began to drain; zero while it does not.
	drained time.Time

	// nextSignal is when the next sign of life is due.
	nextSignal time.Time
	// request is the last request that the server acted on; its ID is "" if there is none.
	request HandoverRequest
	// closed is the ID of a request that ended because the VIP came back.
	closed string
	// etag is that of a request that needs no more work, and read reports whether the bucket has ever responded.
	etag string
	read bool
}

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	w.start()
	ticker := time.NewTicker(w.Poll)
	defer ticker.Stop()
	for {
		w.check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// start restores the state that an earlier process left.
func (w *Watcher) start() {
	w.throttle = newErrorThrottle(w.Log)
	w.holder = holderRecord{server: w.Server, store: w.Store, file: w.HolderFile, log: w.Log, throttle: w.throttle}
	w.missing.restart()
	state, err := w.Proxy.State()
	w.throttle.ok("read the proxy's state", err)
	w.state, w.proxy = starting, state
	if state == Draining {
		w.state, w.drained = restarted, time.Now()
	}
}

// check observes the VIP once and acts according to the state.
func (w *Watcher) check(ctx context.Context) {
	observed := w.observeVIP(ctx)
	switch w.state {
	case starting, restarted:
		return
	case standby:
		w.setProxy(Waiting)
		w.holder.withdraw()
		return
	case replaced:
		w.holder.withdraw()
		w.signal(ctx)
		return
	case active:
		// Before anything else, because visitors may be waiting for a certificate.
		w.setProxy(Serving)
	}
	w.holder.keep(ctx, observed)
	if request, etag, found := w.readRequest(ctx); found {
		w.handOver(ctx, request, etag)
	}
	if w.read && !w.request.inForce() {
		w.apply(noRequest)
	}
	if w.state == resuming {
		w.resume(ctx)
	}
	if w.proxy == Serving {
		w.requestCertificates()
	}
}

// apply applies the transition of an event, if the state has one.
func (w *Watcher) apply(e event) (from state, exists bool) {
	from = w.state
	to, exists := transitions()[from][e]
	if exists {
		w.state = to
		w.Log.Debug("transition", "from", from, "event", e, "to", to)
	}
	return from, exists
}

// observeVIP checks whether this server holds the VIP, and reports whether the metadata service responded. Without
// a response, the state does not change.
func (w *Watcher) observeVIP(ctx context.Context) (responded bool) {
	address, err := w.Metadata.PublicIPv4(ctx)
	if !w.throttle.ok("query the metadata service", err) {
		return false
	}
	observed := vipAbsent
	if address == w.VIP {
		observed = vipPresent
	}
	from, changed := w.apply(observed)
	switch {
	case !changed:
	case observed == vipAbsent:
		w.Log.Info("this server does not hold the VIP", "vip", w.VIP)
	default:
		w.Log.Info("this server holds the VIP", "vip", w.VIP)
		w.holder.begin()
		if from == replaced {
			// The VIP was moved back, which ends the request that is still in force.
			w.closed, w.request = w.request.ID, HandoverRequest{}
		}
	}
	return true
}

// signal sends a sign of life, by which the deployment knows that the VIP can return to this server.
func (w *Watcher) signal(ctx context.Context) {
	now := time.Now()
	if now.Before(w.nextSignal) {
		return
	}
	w.nextSignal = now.Add(report.StandbyPause)
	err := write(ctx, w.Store, report.StandbyKey, standbySign{Server: w.Server, Time: now.UTC()})
	w.throttle.ok("send a sign of life", err)
}

// setProxy puts the proxy into a state, unless it already is in it.
func (w *Watcher) setProxy(state ProxyState) (ok bool) {
	if w.proxy == state {
		return true
	}
	w.proxy = ""
	if w.throttle.ok("switch the proxy's state", w.Proxy.Set(state)) {
		w.proxy = state
		w.missing.restart()
	}
	return w.proxy == state
}

// readRequest returns the request in the bucket if it is in force and not acknowledged.
func (w *Watcher) readRequest(ctx context.Context) (request HandoverRequest, etag string, found bool) {
	const job = "read the handover request"
	request, etag, err := read[HandoverRequest](ctx, w.Store, RequestKey, w.etag)
	switch {
	case errors.Is(err, bucket.ErrNotModified), errors.Is(err, bucket.ErrNotFound):
		w.read = true
		w.throttle.ok(job, nil)
		return request, "", false
	case errors.Is(err, errInvalid) && etag != "":
		w.throttle.ok(job, nil)
		w.Log.Warn("ignored an invalid handover request", "error", err)
		w.read, w.etag = true, etag
		return request, "", false
	case errors.Is(err, errInvalid):
		// Without an ETag each check reads it again.
		w.throttle.ok(job, err)
		w.read, w.etag = true, ""
		return request, "", false
	case !w.throttle.ok(job, err):
		return request, "", false
	}
	w.read = true
	if request.ID == w.request.ID {
		request = w.request // whose expiry is capped
	} else if limit := time.Now().Add(MaxWindow).UTC(); request.Expires.After(limit) {
		w.Log.Warn("capped the expiry of a handover request",
			"server", request.Server, "expires", request.Expires, "until", limit)
		request.Expires = limit
	}
	if request.Server == w.Server || request.ID == w.closed || !request.inForce() {
		w.etag = etag
		return request, "", false
	}
	return request, etag, true
}

// handOver makes the proxy ask visitors to reconnect, uploads the last data and acknowledges the request. After a
// failure, the next check starts over.
func (w *Watcher) handOver(ctx context.Context, request HandoverRequest, etag string) {
	w.apply(requested)
	if w.request.ID != request.ID {
		w.request = request
		w.Log.Info("handing over: asking visitors to reconnect", "successor", request.Server, "until", request.Expires)
	}
	if w.drained.IsZero() {
		w.drained = time.Now()
	}
	// A proxy that cannot drain must not hold up the successor: the move then cuts open connections.
	w.setProxy(Draining)
	select {
	case <-ctx.Done():
		return
	case <-time.After(time.Until(w.drained.Add(w.Drain))):
	}

	releasing, cancel := context.WithDeadline(ctx, request.Expires)
	defer cancel()
	if !w.throttle.ok("upload the last data", w.Data.Release(releasing)) {
		return
	}
	ack := HandoverAck{Request: request.ID, Server: w.Server, Acknowledged: time.Now().UTC()}
	if !w.throttle.ok("acknowledge the handover request", write(ctx, w.Store, AckKey, ack)) {
		return
	}
	w.Log.Info("handed over", "successor", request.Server)
	w.etag = etag
	w.apply(acknowledged)
}

// resume makes the server serve and collect again.
func (w *Watcher) resume(ctx context.Context) {
	if !w.setProxy(Serving) || !w.throttle.ok("resume collecting data", w.Data.Resume(ctx)) {
		return
	}
	if w.request.ID != "" {
		w.Log.Warn("resumed: the successor did not take the VIP", "successor", w.request.Server)
	} else {
		w.Log.Info("resumed: no handover is in progress")
	}
	w.drained = time.Time{}
	w.apply(resumed)
}
