package switchover

import (
	"fmt"
	"strings"
	"time"
)

// Move describes how the local cloud moves the VIP: see localcloud/README.md.
type Move struct {
	// Window is how long fresh packets do not reach the new server after a move. Arrive is "old" if they reach the old
	// server, and "nothing" if they are lost.
	Window time.Duration
	Arrive string
	// Connections is how long established connections live on at the old server: "none", a duration, or "end".
	Connections string
}

// ParseMove parses the output of `localcloud move`.
func ParseMove(flags string) (Move, error) {
	var window string
	var move Move
	_, err := fmt.Sscanf(flags, "-window %s -arrive %s -connections %s", &window, &move.Arrive, &move.Connections)
	if err == nil {
		move.Window, err = time.ParseDuration(window)
	}
	if err != nil {
		return Move{}, fmt.Errorf("cannot parse the settings of the move %q: %w", strings.TrimSpace(flags), err)
	}
	return move, nil
}

// Flags returns the arguments with which `localcloud move` sets the move.
func (m Move) Flags() []string {
	return []string{"-window", m.Window.String(), "-arrive", m.Arrive, "-connections", m.Connections}
}

// String describes the move in a few words.
func (m Move) String() string {
	return fmt.Sprintf("%s to %s, connections: %s", m.Window, m.Arrive, m.Connections)
}

// Loses reports whether requests may fail through no fault of the servers, because their packets are lost or their
// connection is cut.
func (m Move) Loses() bool { return m.Lost() > 0 || m.Connections == "none" }

// Lost returns how long after a move packets are lost.
func (m Move) Lost() time.Duration {
	if m.Arrive == "nothing" {
		return m.Window
	}
	return 0
}
