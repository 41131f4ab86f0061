package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"immutable-infra/localcloud/internal/state"
)

// Move holds the settings for how an Elastic IP moves from one instance to another. AWS publishes no exact
// figures: the README cites the sources of the defaults.
type Move struct {
	// Window is how long after the association new packets to the address do not reach the new instance.
	Window time.Duration
	Arrive Arrival // where new packets arrive during the window
	// Connections is how long connections that exist at the time of the association continue at the old instance:
	// 0 cuts them immediately, UntilEnd never cuts them.
	Connections time.Duration
}

// Arrival is where new packets arrive during the window of a move.
type Arrival string

const (
	// AtOld is the previous instance, as long as it runs. AtNothing drops the packets.
	AtOld     Arrival = "old"
	AtNothing Arrival = "nothing"
)

// UntilEnd lets connections live until the old instance ends.
const UntilEnd time.Duration = -1

const (
	none, end   = "none", "end" // the words for a connection lifetime of 0 and for UntilEnd
	maxDuration = time.Hour     // the maximum of both settings
)

// DefaultMove returns the most disruptive move that the published sources support.
func DefaultMove() Move {
	return Move{Window: 6 * time.Second, Arrive: AtNothing, Connections: time.Minute}
}

// MoveText is a Move as text, for the command line and the settings file. An empty field keeps the current setting.
type MoveText struct {
	Window      string `json:"window"`
	Arrive      string `json:"arrive"`
	Connections string `json:"connections"`
}

func (m Move) Text() MoveText {
	text := MoveText{Window: m.Window.String(), Arrive: string(m.Arrive), Connections: m.Connections.String()}
	switch m.Connections {
	case 0:
		text.Connections = none
	case UntilEnd:
		text.Connections = end
	}
	return text
}

// With returns the move with the non-empty settings of text applied. The error names every invalid setting.
func (m Move) With(text MoveText) (Move, error) {
	var errs []error
	parseDuration := func(name, word, others string) time.Duration {
		given, err := time.ParseDuration(word)
		if err != nil || given < 0 || given > maxDuration {
			errs = append(errs,
				fmt.Errorf("%s %q: write a duration such as 6s, at most %s%s", name, word, maxDuration, others))
		}
		return given
	}
	if text.Window != "" {
		m.Window = parseDuration("window", text.Window, "")
	}
	switch text.Arrive {
	case "":
	case string(AtOld), string(AtNothing):
		m.Arrive = Arrival(text.Arrive)
	default:
		errs = append(errs, fmt.Errorf("arrive %q: write %s or %s", text.Arrive, AtOld, AtNothing))
	}
	switch text.Connections {
	case "":
	case none:
		m.Connections = 0
	case end:
		m.Connections = UntilEnd
	default:
		m.Connections = parseDuration("connections", text.Connections, ", or "+none+" or "+end)
	}
	return m, errors.Join(errs...)
}

// Move returns the settings that the next association uses.
func (l *Local) Move() (Move, error) {
	var text MoveText
	move, err := DefaultMove(), state.ReadJSON(l.moveFile(), &text)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		move, err = move.With(text)
	}
	if err != nil {
		return Move{}, fmt.Errorf("move settings in %s: %w", l.moveFile(), err)
	}
	return move, nil
}

// SetMove saves the non-empty settings of text for future associations, and returns all settings.
func (l *Local) SetMove(text MoveText) (Move, error) {
	unlock, err := l.lock()
	if err != nil {
		return Move{}, err
	}
	defer unlock()
	before, err := l.Move()
	if err != nil {
		return Move{}, err
	}
	move, err := before.With(text)
	if err != nil {
		return Move{}, err
	}
	return move, state.WriteJSON(l.moveFile(), move.Text())
}

func (l *Local) moveFile() string { return filepath.Join(l.home.Cloud(), "move.json") }
