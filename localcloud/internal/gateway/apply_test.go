package gateway

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/run"
)

// script is a Runner that records command lines and returns scripted output.
type script struct {
	lines  []string
	answer func(line string) (string, error)
}

func (s *script) Run(_ context.Context, command run.Command) ([]byte, error) {
	line := strings.Join(append([]string{command.Name}, command.Args...), " ")
	s.lines = append(s.lines, line)
	if s.answer == nil {
		return nil, nil
	}
	output, err := s.answer(line)
	if err != nil {
		err = &run.Error{Command: command, Output: output, Err: err}
	}
	return []byte(output), err
}

func TestOnlyUnassignedAddressesAreRemoved(t *testing.T) {
	runner := &script{answer: func(string) (string, error) {
		return `[{"addr_info":[{"local":"198.18.0.16","prefixlen":23},{"local":"198.18.1.1","prefixlen":32},{"local":"198.18.1.2","prefixlen":32}]}]`, nil
	}}
	wanted := map[netip.Addr]holder{netip.MustParseAddr("198.18.1.1"): {"i-old", netip.MustParseAddr("10.42.1.10")}}
	require.NoError(t, dropAddresses(t.Context(), runner, wanted))
	require.Equal(t, []string{"ip -json -4 address show dev eth0", "ip address del 198.18.1.2/32 dev eth0"}, runner.lines)
}

func TestDroppingNoConnectionsIsNotAnError(t *testing.T) {
	runner := &script{answer: func(string) (string, error) {
		return "conntrack v1.4.8 (conntrack-tools): 0 flow entries have been deleted.", errors.New("exit status 1")
	}}
	require.NoError(t, dropConnections(t.Context(), runner, netip.MustParseAddr("198.18.1.1")))
	require.Equal(t, []string{
		"conntrack --delete --orig-dst 198.18.1.1", "conntrack --delete --reply-dst 198.18.1.1",
		"conntrack --delete --orig-src 198.18.1.1", "conntrack --delete --reply-src 198.18.1.1",
	}, runner.lines)
}

func TestFailureToDropConnectionsIsReported(t *testing.T) {
	runner := &script{
		answer: func(string) (string, error) { return "Operation not permitted", errors.New("exit status 1") },
	}
	require.ErrorContains(t, dropConnections(t.Context(), runner, netip.MustParseAddr("198.18.1.1")),
		"Operation not permitted")
}
