package handover

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var errFault = errors.New("injected")

// reach starts a server and brings it into a state in which it stays until an event.
func reach(t *testing.T, s state) *server {
	t.Helper()
	silentCloud := func(s *server) { s.cloud.answer(noAddress, errFault) }
	noRelease := func(s *server) { s.data.release = func(context.Context) error { return errFault } }
	noResume := func(s *server) { s.data.resume = func(context.Context) error { return errFault } }
	noBucket := func(s *server) { s.bucket.fail("GET "+RequestKey, errFault) }
	switch s {
	case starting:
		return start(t, noAddress, silentCloud)
	case restarted:
		return start(t, noAddress, silentCloud, leaveDraining)
	case standby:
		return start(t, otherAddress)
	case active:
		return start(t, vip)
	case handingOver:
		server := start(t, vip, noRelease)
		server.bucket.announce(t, "i-new", 2*time.Minute)
		advance(6 * time.Second)
		return server
	case handedOver:
		server := start(t, vip)
		server.bucket.announce(t, "i-new", 2*time.Minute)
		advance(6 * time.Second)
		return server
	case resuming:
		return start(t, vip, leaveDraining, noResume)
	case replaced:
		server := reach(t, handedOver)
		server.cloud.answer(otherAddress, nil)
		advance(2 * time.Second)
		return server
	case recovering:
		return start(t, vip, leaveDraining, noBucket)
	default:
		require.Fail(t, "unknown state", s)
		return nil
	}
}

// raise causes an event, as far as the state allows, and waits for its effects.
func raise(t *testing.T, s *server, e event) {
	t.Helper()
	wait := 2 * time.Second
	switch e {
	case vipPresent:
		s.cloud.answer(vip, nil)
	case vipAbsent:
		s.cloud.answer(otherAddress, nil)
	case requested:
		s.bucket.fail("GET "+RequestKey, nil)
		s.bucket.announce(t, "i-newer", 5*time.Minute)
	case noRequest:
		s.bucket.fail("GET "+RequestKey, nil)
		wait = 2*time.Minute + 2*time.Second
	case acknowledged:
		s.data.onRelease(nil)
	case resumed:
		s.data.onResume(nil)
	default:
		require.Fail(t, "unknown event", e)
	}
	advance(wait)
}

// effects are the effects of a transition and of those that follow from it within a check.
type effects struct {
	to state
	// then are the transitions that follow at once, as "from event to".
	then []string
	// proxy is its state, holder reports whether the holder file exists, and calls are those of
	// Data since then, without repetitions.
	proxy  ProxyState
	holder bool
	calls  []string
}

func expected() map[state]map[event]effects {
	const (
		finds   = "recovering noRequest resuming"
		resumes = "resuming resumed active"
		acks    = "handingOver acknowledged handedOver"
	)
	return map[state]map[event]effects{
		starting: {
			vipAbsent:  {to: standby, proxy: Waiting},
			vipPresent: {to: active, proxy: Serving, holder: true},
		},
		restarted: {
			vipAbsent: {to: replaced, proxy: Draining},
			vipPresent: {
				to: recovering, then: []string{finds, resumes}, proxy: Serving, holder: true, calls: []string{"resume"},
			},
		},
		standby: {vipPresent: {to: active, proxy: Serving, holder: true}},
		active: {
			vipAbsent: {to: standby, proxy: Waiting},
			requested: {to: handingOver, proxy: Draining, holder: true},
		},
		handingOver: {
			vipAbsent: {to: replaced, proxy: Draining},
			requested: {to: handingOver, proxy: Draining, holder: true, calls: []string{"release"}},
			noRequest: {
				to: resuming, then: []string{resumes}, proxy: Serving, holder: true, calls: []string{"release", "resume"},
			},
			acknowledged: {
				to: handedOver, proxy: Draining, holder: true, calls: []string{"release"},
			},
		},
		handedOver: {
			vipAbsent: {to: replaced, proxy: Draining},
			requested: {to: handingOver, then: []string{acks}, proxy: Draining, holder: true, calls: []string{"release"}},
			noRequest: {to: resuming, then: []string{resumes}, proxy: Serving, holder: true, calls: []string{"resume"}},
		},
		resuming: {
			vipAbsent: {to: replaced, proxy: Serving},
			requested: {to: handingOver, proxy: Draining, holder: true},
			resumed:   {to: active, proxy: Serving, holder: true, calls: []string{"resume"}},
		},
		replaced: {
			vipPresent: {
				to: recovering, then: []string{finds, resumes}, proxy: Serving, holder: true, calls: []string{"resume"},
			},
		},
		recovering: {
			vipAbsent: {to: replaced, proxy: Draining},
			requested: {to: handingOver, proxy: Draining, holder: true},
			noRequest: {to: resuming, then: []string{resumes}, proxy: Serving, holder: true, calls: []string{"resume"}},
		},
	}
}

// All pairs of a state and an event, also those without a transition.
func TestEachEventInEachStateFollowsTheDiagram(t *testing.T) {
	tested := 0
	for _, from := range []state{
		starting, restarted, standby, active, handingOver, handedOver, resuming, replaced, recovering,
	} {
		for _, e := range []event{vipPresent, vipAbsent, requested, noRequest, acknowledged, resumed} {
			want, exists := expected()[from][e]
			t.Run(fmt.Sprintf("%s %s", from, e), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := reach(t, from)
					defer s.stop()
					require.Equal(t, from, s.watcher.state)
					s.transitions, s.data.calls = nil, nil
					proxy := s.proxy.current()
					raise(t, s, e)
					passed := slices.DeleteFunc(s.transitions,
						func(passed string) bool { return passed == "handingOver requested handingOver" && e != requested })
					if !exists {
						require.Empty(t, passed)
						require.Equal(t, from, s.watcher.state)
						require.Equal(t, proxy, s.proxy.current())
						return
					}
					require.Equal(t, append([]string{fmt.Sprintf("%s %s %s", from, e, want.to)}, want.then...), passed)
					require.Equal(t, want.proxy, s.proxy.current())
					require.Equal(t, want.holder, fileExists(s.holder))
					require.Equal(t, want.calls, slices.Compact(s.data.calls))
				})
			})
			if exists {
				tested++
			}
		}
	}
	declared := 0
	for _, of := range transitions() {
		declared += len(of)
	}
	require.Equal(t, declared, tested, "each transition is tested")
}

var arrow = regexp.MustCompile(`(?m)^\s*(\w+) --> (\w+): (\w+)$`)

// arrows returns the transitions of a diagram, as "from event to".
func arrows(diagram string) []string {
	var drawn []string
	for _, match := range arrow.FindAllStringSubmatch(diagram, -1) {
		drawn = append(drawn, match[1]+" "+match[3]+" "+match[2])
	}
	slices.Sort(drawn)
	return drawn
}

func TestDiagramsShowTheTransitionsOfTheProgram(t *testing.T) {
	var declared []string
	for from, of := range transitions() {
		for e, to := range of {
			declared = append(declared, fmt.Sprintf("%s %s %s", from, e, to))
		}
	}
	slices.Sort(declared)

	source, err := parser.ParseFile(token.NewFileSet(), "states.go", nil, parser.ParseComments)
	require.NoError(t, err)
	documented := ""
	for _, declaration := range source.Decls {
		if of, ok := declaration.(*ast.GenDecl); ok && of.Tok == token.TYPE &&
			of.Specs[0].(*ast.TypeSpec).Name.Name == "state" {
			documented = of.Doc.Text()
		}
	}
	require.Equal(t, declared, arrows(documented), "the doc comment of type state")

	page, err := os.ReadFile("../../../docs/server.md")
	require.NoError(t, err)
	require.Equal(t, declared,
		arrows(regexp.MustCompile("(?s)```mermaid\nstateDiagram-v2\n.*?```").FindString(string(page))), "docs/server.md")
}
