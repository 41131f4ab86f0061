package readiness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServerIsReadyWhenItKnowsWhatWasMeasuredBefore(t *testing.T) {
	for name, test := range map[string]struct {
		restored string
		finding  Finding
	}{
		"not restored": {"", Finding{Detail: "nothing was restored on this server yet, not even that there is nothing: run agent restore"}},
		"nothing there": {
			`{"found": false}`,
			Finding{Verdict: Holds, Detail: "none was backed up before this server"},
		},
		"restored": {
			`{"found": true, "server": "i-1", "epoch": 7, "sequence": 123, "ageSeconds": 42.4, "fallbacks": 0}`,
			Finding{Verdict: Holds, Detail: "that of i-1, 42s old when it was restored (epoch 7, manifest 123)"},
		},
		"an older one": {
			`{"found": true, "server": "i-1", "epoch": 7, "sequence": 121, "ageSeconds": 162, "fallbacks": 2}`,
			Finding{Verdict: Holds, Detail: "that of i-1, 2m42s old when it was restored (epoch 7, manifest 121); 2 newer backups were of no use"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.restored != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "restored.json"), []byte(test.restored), 0o644))
			}
			require.Equal(t, test.finding, History{Dir: dir}.Look(t.Context()))
		})
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "restored.json"), []byte("{"), 0o644))
	broken := History{Dir: dir}.Look(t.Context())
	require.Equal(t, Fails, broken.Verdict)
	require.Contains(t, broken.Detail, "read what was restored")
}
