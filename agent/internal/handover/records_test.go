package handover

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A server may hand over to an older or a newer one: a rollback updates to an older program.
func TestRecordsKeepTheFieldsThatOtherVersionsRead(t *testing.T) {
	at := time.Date(2026, time.November, 23, 4, 39, 21, 0, time.UTC)
	for want, record := range map[string]record{
		`{"server":"i-1","since":"2026-11-23T04:39:21Z"}`: Holder{
			Server: "i-1",
			Since:  at,
		},
		`{"id":"x","server":"i-1","announced":"2026-11-23T04:39:21Z","expires":"2026-11-23T04:39:21Z"}`: HandoverRequest{
			ID:        "x",
			Server:    "i-1",
			Requested: at,
			Expires:   at,
		},
		`{"announcement":"x","server":"i-1","answered":"2026-11-23T04:39:21Z"}`: HandoverAck{
			Request:      "x",
			Server:       "i-1",
			Acknowledged: at,
		},
	} {
		written, err := json.Marshal(record)
		require.NoError(t, err)
		require.Equal(t, want, string(written))
	}
	require.Equal(t, []string{"handover/holder.json", "handover/announcement.json", "handover/answer.json"},
		[]string{HolderKey, RequestKey, AckKey})
}
