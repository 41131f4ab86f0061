package switchover

import (
	"fmt"
	"strings"
	"time"
)

// Move is how the local cloud moves the VIP: localcloud/README.md.
type Move struct {
	// Window is for how long fresh packets do not reach the new server. They arrive at the old one or nowhere: Arrive is
	// "old" or "nothing".
	Window time.Duration
	Arrive string
	// Connections is for how long established connections live on at the old server: "none", a duration, or "end".
	Connections string
}

// ParseMove reads the output of `localcloud move`.
func ParseMove(flags string) (Move, error) {
	var window string
	var move Move
	_, err := fmt.Sscanf(flags, "-window %s -arrive %s -connections %s", &window, &move.Arrive, &move.Connections)
	if err == nil {
		move.Window, err = time.ParseDuration(window)
	}
	if err != nil {
		return Move{}, fmt.Errorf("settings of the move %q: %w", strings.TrimSpace(flags), err)
	}
	return move, nil
}

// Flags are the arguments of `localcloud move` that set it.
func (m Move) Flags() []string {
	return []string{"-window", m.Window.String(), "-arrive", m.Arrive, "-connections", m.Connections}
}

// String describes the move in a few words.
func (m Move) String() string {
	return fmt.Sprintf("%s to %s, connections: %s", m.Window, m.Arrive, m.Connections)
}

// Loses reports whether requests may fail for no fault of the servers: those that arrive nowhere, or whose connection
// is cut.
func (m Move) Loses() bool { return m.Lost() > 0 || m.Connections == "none" }

// Lost is for how long after a move packets arrive nowhere.
func (m Move) Lost() time.Duration {
	if m.Arrive == "nothing" {
		return m.Window
	}
	return 0
}
