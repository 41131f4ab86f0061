package readiness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"immutable-infra/agent/internal/history"
)

// History checks that the history of the previous servers was restored, or that there was none.
type History struct {
	// Dir is the directory of the restored history.
	Dir string
}

func (h History) Name() string { return "history" }

func (h History) Check(context.Context) Result {
	result, err := history.ReadResult(h.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("was not restored: run agent restore to see why")
	case err != nil:
		return failed(err)
	case !result.Found:
		return pass("there was nothing to restore")
	}
	detail := fmt.Sprintf("of %s, manifest %d of epoch %d, %.0f s old when it was restored: %d blocks", result.Server,
		result.Sequence, result.Epoch, result.AgeSeconds, result.Blocks)
	if result.Fallbacks > 0 {
		detail += fmt.Sprintf("; unusable newer backups: %d", result.Fallbacks)
	}
	return pass(detail)
}
