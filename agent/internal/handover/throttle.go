package handover

import (
	"context"
	"errors"
	"log/slog"

	"github.com/aws/smithy-go"

	"immutable-infra/agent/internal/bucket"
)

// errorThrottle logs a failure when it begins, changes or ends: a line for each check would fill
// the journal.
type errorThrottle struct {
	log *slog.Logger
	// kinds maps each job whose last attempt failed to the kind of its failure.
	kinds map[string]string
}

func newErrorThrottle(log *slog.Logger) errorThrottle {
	return errorThrottle{log: log, kinds: map[string]string{}}
}

// ok reports whether a job succeeded. It does not log the cancellation of a stopping process.
func (t errorThrottle) ok(job string, err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	before, failed := t.kinds[job]
	if err == nil {
		if failed {
			delete(t.kinds, job)
			t.log.Info("recovered: " + job)
		}
		return true
	}
	if now := kind(err); !failed || before != now {
		t.kinds[job] = now
		t.log.Warn("cannot "+job, "error", err)
	}
	return false
}

// kind classifies a failure. The texts of errors cannot be compared, because each response of S3 has its own
// request ID.
func kind(err error) string {
	for _, kind := range []error{bucket.ErrNotFound, bucket.ErrNoBucket, bucket.ErrDenied, errInvalid} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return "other"
}
