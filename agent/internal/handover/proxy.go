package handover

// ProxyState is how the proxy treats visitors.
type ProxyState string

const (
	// Waiting: the proxy serves, but requests no certificates, since another server holds the VIP.
	Waiting ProxyState = "waiting"
	// Serving: the proxy serves, and requests missing certificates.
	Serving ProxyState = "serving"
	// Draining: like Serving, and each response asks the visitor to reconnect.
	Draining ProxyState = "draining"
)

// Proxy is what visitors reach first on this server.
type Proxy interface {
	// State returns the state that any process set last, or "" if that is unknown.
	State() (ProxyState, error)
	// Set sets the state. Serving makes the proxy request missing certificates, even if it was in that state
	// before.
	Set(state ProxyState) error
}
