package readiness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"immutable-infra/agent/internal/history"
)

// History is the check that what the servers before this one have measured was
// restored, or that there was nothing.
type History struct {
	// Dir is where the history was restored to.
	Dir string
}

// Name implements Check.
func (h History) Name() string { return "history" }

// Look implements Check.
func (h History) Look(context.Context) Finding {
	result, err := history.ReadResult(h.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Finding{Detail: "was not restored: run agent restore, which says why"}
	case err != nil:
		return Finding{Detail: oneLine(err.Error())}
	case !result.Found:
		return Finding{Verdict: Holds, Detail: "none was there to restore"}
	}
	detail := fmt.Sprintf("of %s, manifest %d of epoch %d, %.0f s old when it was restored: %d blocks", result.Server, result.Sequence, result.Epoch, result.AgeSeconds, result.Blocks)
	if result.Fallbacks > 0 {
		detail += fmt.Sprintf("; newer backups of no use: %d", result.Fallbacks)
	}
	return Finding{Verdict: Holds, Detail: detail}
}
