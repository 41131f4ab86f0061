package uptimerobot

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"time"

	"immutable-infra/localcloud/internal/state"
)

// account is the persisted state of the account.
type account struct {
	LastID       int64
	Monitors     map[int64]*monitor     // by ID
	Integrations map[int64]*integration // by ID
	Pages        map[int64]*page        // by ID
	// Created, Changed and Deleted count successful requests by the path of their kind, such as /monitors.
	Created, Changed, Deleted map[string]int
}

// firstID keeps IDs apart from all other numbers in use.
const firstID = 800_000_000

// loadAccount reads the account from file and returns an empty account if the file does not exist.
func loadAccount(file string) (account, error) {
	a := account{
		LastID: firstID, Monitors: map[int64]*monitor{}, Integrations: map[int64]*integration{}, Pages: map[int64]*page{},
		Created: map[string]int{}, Changed: map[string]int{}, Deleted: map[string]int{},
	}
	if err := state.ReadJSON(file, &a); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	return a, nil
}

func (a *account) newID() int64 {
	a.LastID++
	return a.LastID
}

// State is a snapshot of the account, without secrets.
type State struct {
	Monitors []MonitorState `json:"monitors"`
	// Heartbeats lists the heartbeat monitors separately, because their URLs are secret.
	Heartbeats   []HeartbeatState `json:"heartbeats"`
	Integrations []string         `json:"integrations"`
	Pages        []PageState      `json:"pages"`
	// Created, Changed and Deleted count successful requests by path.
	Created map[string]int `json:"created"`
	Changed map[string]int `json:"changed"`
	Deleted map[string]int `json:"deleted"`
	Notices []Notice       `json:"notices"` // webhook deliveries, oldest first
}

// MonitorState is a monitor with the result of its checks.
type MonitorState struct {
	ID     int64     `json:"id"`
	Name   string    `json:"name"`
	URL    string    `json:"url"`
	Status string    `json:"status"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Checks int       `json:"checks"`
}

// HeartbeatState is a heartbeat monitor.
type HeartbeatState struct {
	ID     int64     `json:"id"`
	Name   string    `json:"name"`
	Status string    `json:"status"`
	Beats  int       `json:"beats"` // the number of heartbeats received
	Last   time.Time `json:"last"`  // when the last heartbeat arrived
}

// PageState is a status page. A single monitor ID of 0 stands for all monitors.
type PageState struct {
	ID       int64   `json:"id"`
	Name     string  `json:"name"`
	Domain   string  `json:"domain"`
	Monitors []int64 `json:"monitors"`
}

func sortedByID[T any](byID map[int64]*T) []*T {
	var all []*T
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		all = append(all, byID[id])
	}
	return all
}

func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.account
	state := State{
		Monitors: []MonitorState{}, Heartbeats: []HeartbeatState{}, Integrations: []string{}, Pages: []PageState{},
		Created: maps.Clone(a.Created), Changed: maps.Clone(a.Changed), Deleted: maps.Clone(a.Deleted),
		Notices: append([]Notice{}, s.notices...),
	}
	for _, m := range sortedByID(a.Monitors) {
		if m.Type == typeHeartbeat {
			state.Heartbeats = append(state.Heartbeats, HeartbeatState{m.ID, m.FriendlyName, m.Status, m.Beats, m.LastBeat})
		} else {
			state.Monitors = append(state.Monitors,
				MonitorState{m.ID, m.FriendlyName, m.URL, m.Status, m.Reason, m.Since, m.Checks})
		}
	}
	for _, i := range sortedByID(a.Integrations) {
		state.Integrations = append(state.Integrations, i.FriendlyName)
	}
	for _, p := range sortedByID(a.Pages) {
		state.Pages = append(state.Pages, PageState{p.ID, p.FriendlyName, p.CustomDomain, slices.Clone(p.MonitorIDs)})
	}
	return state
}
