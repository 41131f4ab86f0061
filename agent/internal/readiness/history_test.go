package readiness

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServerWithoutHistoryIsNotReady(t *testing.T) {
	dir := t.TempDir()
	check := History{Dir: dir}
	require.Equal(t, "history", check.Name())
	for _, c := range []struct {
		text string
		want Result
	}{
		{"", Result{Detail: "was not restored: run agent restore to see why"}},
		{`{"found": false}`, Result{Verdict: Pass, Detail: "there was nothing to restore"}},
		{`{"found": true, "server": "i-old", "epoch": 7, "sequence": 123, "ageSeconds": 41.2, "blocks": 12}`,
			Result{Verdict: Pass, Detail: "of i-old, manifest 123 of epoch 7, 41 s old when it was restored: 12 blocks"}},
		{`{"found": true, "server": "i-old", "epoch": 7, "sequence": 121, "ageSeconds": 161, "blocks": 12, "fallbacks": 2}`,
			Result{
				Verdict: Pass,
				Detail:  "of i-old, manifest 121 of epoch 7, 161 s old when it was restored: 12 blocks; unusable newer backups: 2",
			}},
		{`{"found"`, Result{Detail: "cannot read what was restored: unexpected end of JSON input"}},
	} {
		if c.text != "" {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "restored.json"), []byte(c.text), 0o644))
		}
		require.Equal(t, c.want, check.Check(t.Context()))
	}
}
