package handover

// ProxyState is how the proxy treats visitors.
type ProxyState string

const (
	// Waiting: it serves, and requests no certificates, since the VIP leads elsewhere.
	Waiting ProxyState = "waiting"
	// Serving: it serves, and requests the certificates that are missing.
	Serving ProxyState = "serving"
	// Draining: as Serving, and each response asks its visitor to reconnect.
	Draining ProxyState = "draining"
)

// Proxy is what visitors reach first on this server.
type Proxy interface {
	// State returns the state that any process set last, or "" if that is unknown.
	State() (ProxyState, error)
	// Set sets the state. Serving has the proxy request missing certificates even if it was in that
	// state before.
	Set(state ProxyState) error
}
