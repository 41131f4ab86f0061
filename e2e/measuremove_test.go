package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// measuringLimit bounds a measurement: an update, plus the time for which connections to the old server outlive it.
	measuringLimit = 15 * time.Minute
	// settledLimit is how long a measurement may continue after the update: requests to a deleted server time out.
	settledLimit = time.Minute
)

// measuredMove holds the parts of the JSON file of `make measure-move` that the test needs.
type measuredMove struct {
	Old, New       string
	FirstNewMs     float64
	LastOldMs      float64
	CommandEndedMs float64
	Settled        bool
	OldAfterWindow int
	Association    *struct{ Server string }
	Phases         []struct {
		Name                string
		Sent, Old, New      int
		Others, Refused     int
		TimedOut, Reset     int
		OtherFailures, Late int
	}
	Fresh []struct {
		Number          int
		SentMs, EndedMs float64
		Server, Failure string
	}
	Kept []struct {
		Visitor, Asked int
		EndedBy        string
		Answers        map[string]int
	}
}

// moveMeasured measures two replacements of the server, as an operator does: the first with a command, the second with
// an update in another terminal. The local cloud's setting for the VIP's move does not matter.
func moveMeasured(t *testing.T, p *project) {
	changed := p.copy(t)
	changed.set(t, "generation", int(time.Now().Unix()))
	before := p.outputs(t)
	file := filepath.Join(t.TempDir(), "there.json")
	there := changed.run(t, measuringLimit, "make", "measure-move", "STACK=local", "JSON="+file,
		"COMMAND=pulumi up --yes --skip-preview --non-interactive --stack local")
	require.NoError(t, there.err, there.String())
	t.Log(there.stdout)
	between := p.outputs(t)
	move := readMeasuredMove(t, file, before.ServerID, between.ServerID)
	require.Less(t, move.Fresh[len(move.Fresh)-1].SentMs-move.CommandEndedMs, float64(settledLimit.Milliseconds()))
	// The server's log contains the requests that it answered.
	for _, request := range move.Fresh {
		if request.Server == between.ServerID {
			query := fmt.Sprintf(`"GET /.well-known/server?n=%d HTTP/1.1" 200`, request.Number)
			logged := p.ssh(t, fmt.Sprintf("sudo grep -cF '%s' /srv/traefik/log/access.log", query))
			require.Equal(t, "1\n", logged.stdout, logged.String())
			break
		}
	}

	file = filepath.Join(t.TempDir(), "back.json")
	measured := make(chan result, 1)
	go func() { measured <- p.run(t, measuringLimit, "make", "measure-move", "STACK=local", "JSON="+file) }()
	up := p.pulumiUp(t)
	back := <-measured
	require.NoError(t, up.err, up.String())
	require.NoError(t, back.err, back.String())
	t.Log(back.stdout)
	readMeasuredMove(t, file, between.ServerID, p.outputs(t).ServerID)

	unknown := p.run(t, 2*time.Minute, "make", "measure-move", "STACK=local-nowhere")
	require.Error(t, unknown.err)
	require.Contains(t, unknown.stderr, "cannot measure a move of stack local-nowhere: cannot read the outputs")
}

// readMeasuredMove reads a measurement and requires that each request is accounted for once, and that all requests
// before and after the move were answered.
func readMeasuredMove(t *testing.T, file, from, to string) measuredMove {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var move measuredMove
	require.NoError(t, json.Unmarshal(content, &move))
	require.Equal(t, []string{from, to}, []string{move.Old, move.New})
	require.NotNil(t, move.Association, "EC2's API was queried")
	require.Equal(t, to, move.Association.Server)
	require.Positive(t, move.FirstNewMs)
	require.Positive(t, move.LastOldMs)
	require.True(t, move.Settled)
	require.Zero(t, move.OldAfterWindow)

	sent := 0
	for _, phase := range move.Phases {
		require.Equal(t, phase.Sent, phase.Old+phase.New+phase.Others+phase.Refused+phase.TimedOut+phase.Reset+
			phase.OtherFailures, phase.Name)
		require.Zero(t, phase.Others)
		switch phase.Name {
		case "before":
			require.Equal(t, phase.Sent, phase.Old, "each was answered by the old server")
		case "after":
			require.Equal(t, phase.Sent, phase.New, "each was answered by the new server")
		}
		sent += phase.Sent
	}
	require.Len(t, move.Fresh, sent)
	for i, request := range move.Fresh {
		require.Equal(t, i+1, request.Number)
		require.NotEqual(t, request.Server == "", request.Failure == "")
	}
	visitors := map[int]bool{}
	for _, kept := range move.Kept {
		visitors[kept.Visitor] = true
		answered := 0
		for _, count := range kept.Answers {
			answered += count
		}
		require.LessOrEqual(t, answered, kept.Asked)
		require.LessOrEqual(t, kept.Asked, answered+1, "at most the last request has no answer: %s", kept.EndedBy)
		require.LessOrEqual(t, len(kept.Answers), 1, "a connection has one server")
		require.False(t, strings.HasPrefix(kept.EndedBy, "status"), kept.EndedBy)
	}
	require.Len(t, visitors, 10)
	return move
}
