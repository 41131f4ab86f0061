package readiness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"immutable-infra/agent/internal/history"
)

// History is the check that what the previous servers have measured was
// restored, or that there was nothing.
type History struct {
	// Dir is where the history was restored to.
	Dir string
}

func (h History) Name() string { return "history" }

func (h History) Check(context.Context) Result {
	result, err := history.ReadResult(h.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("was not restored: run agent restore, which says why")
	case err != nil:
		return failed(err)
	case !result.Found:
		return pass("none was there to restore")
	}
	detail := fmt.Sprintf("of %s, manifest %d of epoch %d, %.0f s old when it was restored: %d blocks", result.Server,
		result.Sequence, result.Epoch, result.AgeSeconds, result.Blocks)
	if result.Fallbacks > 0 {
		detail += fmt.Sprintf("; unusable newer backups: %d", result.Fallbacks)
	}
	return pass(detail)
}
