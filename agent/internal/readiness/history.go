package readiness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"immutable-infra/agent/internal/history"
)

// History is the check that what was measured before has been restored, or that it is
// known that there is none.
type History struct {
	// Dir is the directory that Prometheus' data directory is in.
	Dir string
}

// Name implements Check.
func (h History) Name() string { return "history" }

// Look implements Check.
func (h History) Look(context.Context) Finding {
	restored, err := history.ReadResult(h.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Finding{Detail: "nothing was restored on this server yet, not even that there is nothing: run agent restore"}
	case err != nil:
		return Finding{Detail: oneLine(err.Error())}
	case !restored.Found:
		return Finding{Verdict: Holds, Detail: "none was backed up before this server"}
	}
	age := time.Duration(restored.AgeSeconds) * time.Second
	detail := fmt.Sprintf("that of %s, %s old when it was restored (epoch %d, manifest %d)", restored.Server, age, restored.Epoch, restored.Sequence)
	if restored.Fallbacks > 0 {
		detail += fmt.Sprintf("; %d newer backups were of no use", restored.Fallbacks)
	}
	return Finding{Verdict: Holds, Detail: detail}
}
