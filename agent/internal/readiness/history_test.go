package readiness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAServerWithoutTheHistoryIsNotReady(t *testing.T) {
	dir := t.TempDir()
	check := History{Dir: dir}
	require.Equal(t, "history", check.Name())
	for _, c := range []struct {
		text string
		want Finding
	}{
		{"", Finding{Detail: "was not restored: run agent restore, which says why"}},
		{`{"found": false}`, Finding{Verdict: Holds, Detail: "none was there to restore"}},
		{`{"found": true, "server": "i-old", "epoch": 7, "sequence": 123, "ageSeconds": 41.2, "blocks": 12}`,
			Finding{Verdict: Holds, Detail: "of i-old, manifest 123 of epoch 7, 41 s old when it was restored: 12 blocks"}},
		{`{"found": true, "server": "i-old", "epoch": 7, "sequence": 121, "ageSeconds": 161, "blocks": 12, "fallbacks": 2}`,
			Finding{Verdict: Holds, Detail: "of i-old, manifest 121 of epoch 7, 161 s old when it was restored: 12 blocks; newer backups of no use: 2"}},
		{`{"found"`, Finding{Detail: "read what was restored: unexpected end of JSON input"}},
	} {
		if c.text != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "restored.json"), []byte(c.text), 0o644))
		}
		require.Equal(t, c.want, check.Look(t.Context()))
	}
}
