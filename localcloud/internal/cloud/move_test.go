package cloud

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/state"
)

func TestMoveTextRoundTrips(t *testing.T) {
	for _, move := range []Move{
		DefaultMove(),
		{Arrive: AtOld},
		{Window: 30 * time.Second, Arrive: AtOld, Connections: UntilEnd},
		{Window: 1500 * time.Millisecond, Arrive: AtNothing, Connections: time.Hour},
	} {
		read, err := Move{}.With(move.Text())
		require.NoError(t, err)
		require.Equal(t, move, read)
	}
	require.Equal(t, MoveText{Window: "6s", Arrive: "nothing", Connections: "1m0s"}, DefaultMove().Text())
	require.Equal(t, "none", Move{}.Text().Connections)
}

func TestInvalidMoveSettingsAreNamedInError(t *testing.T) {
	_, err := DefaultMove().With(MoveText{Window: "6", Arrive: "both", Connections: "-1s"})
	require.EqualError(t, err, `window "6": write a duration such as 6s, at most 1h0m0s
arrive "both": write old or nothing
connections "-1s": write a duration such as 6s, at most 1h0m0s, or none or end`)
	for _, text := range []MoveText{{Window: "2h"}, {Window: "none"}, {Arrive: "new"}, {Connections: "2h"}} {
		_, err := DefaultMove().With(text)
		require.Error(t, err, "%v", text)
	}
}

func TestMoveSettingsPersistUntilChanged(t *testing.T) {
	home := t.TempDir()
	require.NoError(t, state.Home(home).Make())
	local, err := Open(home)
	require.NoError(t, err)
	move, err := local.Move()
	require.NoError(t, err)
	require.Equal(t, DefaultMove(), move)

	changed, err := local.SetMove(MoveText{Arrive: "old", Window: "30s"})
	require.NoError(t, err)
	require.Equal(t, Move{Window: 30 * time.Second, Arrive: AtOld, Connections: time.Minute}, changed)
	_, err = local.SetMove(MoveText{Connections: "for ever"})
	require.ErrorContains(t, err, `connections "for ever"`)
	move, err = local.Move()
	require.NoError(t, err)
	require.Equal(t, changed, move, "a rejected change leaves the settings unchanged")

	require.NoError(t, os.WriteFile(local.moveFile(), []byte(`{"arrive": "somewhere"}`), 0o600))
	_, err = local.Move()
	require.ErrorContains(t, err, `move.json: arrive "somewhere"`)
}
