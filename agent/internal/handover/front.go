package handover

// State is how the server treats its visitors.
type State string

const (
	// Waiting: the server does not have the VIP. It serves whoever comes, and asks
	// for no certificate.
	Waiting State = "waiting"
	// Serving: the server has the VIP, and asks for the certificates that it has not.
	Serving State = "serving"
	// Draining: as Serving, and each visitor is asked to come back on a new connection.
	Draining State = "draining"
)

// Front is what visitors meet first on this server.
type Front interface {
	// State is the state that it was put into last, by whatever process, or "" if
	// that is not known.
	State() (State, error)
	// Set puts it into a state. Serving makes it ask for the certificates that it has
	// not, also when it was in that state before.
	Set(state State) error
}
