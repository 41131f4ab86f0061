package cloud

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"immutable-infra/localcloud/internal/state"
)

// Move is how an Elastic IP moves from one instance to another. AWS publishes no exact figures: the README says what
// the default rests on.
type Move struct {
	// Window is for how long, after the association, fresh packets to the address do not reach the new instance.
	Window time.Duration
	Arrive Arrival // where they arrive in the window
	// Connections is for how long the connections that the address has at the association live on at the old instance:
	// 0 cuts them at once, UntilEnd never.
	Connections time.Duration
}

// Arrival is where packets arrive in the window of a move.
type Arrival string

const (
	// AtOld is the instance that held the address before, as long as it runs. AtNothing is nowhere.
	AtOld     Arrival = "old"
	AtNothing Arrival = "nothing"
)

// UntilEnd is a lifetime of connections that ends with the instance.
const UntilEnd time.Duration = -1

const (
	// none and end are the words for a lifetime of 0 and for UntilEnd.
	none, end = "none", "end"
	maxMove   = time.Hour // the longest duration of a setting
)

// DefaultMove is the least kind move that the published sources support.
func DefaultMove() Move {
	return Move{Window: 6 * time.Second, Arrive: AtNothing, Connections: time.Minute}
}

// MoveText is a Move in the words of the command line and of the file. An empty word keeps what is set.
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

// With returns the move with the settings that the text has. The error names every invalid one.
func (m Move) With(text MoveText) (Move, error) {
	var problems []error
	length := func(name, word, others string) time.Duration {
		given, err := time.ParseDuration(word)
		if err != nil || given < 0 || given > maxMove {
			problems = append(problems,
				fmt.Errorf("%s %q: write a duration such as 6s, at most %s%s", name, word, maxMove, others))
		}
		return given
	}
	if text.Window != "" {
		m.Window = length("window", text.Window, "")
	}
	switch text.Arrive {
	case "":
	case string(AtOld), string(AtNothing):
		m.Arrive = Arrival(text.Arrive)
	default:
		problems = append(problems, fmt.Errorf("arrive %q: write %s or %s", text.Arrive, AtOld, AtNothing))
	}
	switch text.Connections {
	case "":
	case none:
		m.Connections = 0
	case end:
		m.Connections = UntilEnd
	default:
		m.Connections = length("connections", text.Connections, ", or "+none+" or "+end)
	}
	return m, errors.Join(problems...)
}

// Move returns the settings that the next association uses.
func (l *Local) Move() (Move, error) {
	var text MoveText
	move, err := DefaultMove(), state.ReadJSON(l.moveFile(), &text)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		move, err = move.With(text)
	}
	if err != nil {
		return Move{}, fmt.Errorf("settings of the move in %s: %w", l.moveFile(), err)
	}
	return move, nil
}

// SetMove changes the settings that the text has, for the associations to come.
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
