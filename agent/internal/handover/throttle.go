package handover

import (
	"context"
	"errors"
	"log/slog"

	"github.com/aws/smithy-go"

	"immutable-infra/agent/internal/bucket"
)

// errorThrottle logs a failure when it begins, changes or ends: one that each check meets would fill
// the journal.
type errorThrottle struct {
	log *slog.Logger
	// kinds has the kind of the failure of each job that failed last time.
	kinds map[string]string
}

func newErrorThrottle(log *slog.Logger) errorThrottle {
	return errorThrottle{log: log, kinds: map[string]string{}}
}

// ok reports whether a job succeeded. The cancellation of a process that is stopped is not logged.
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

// kind tells failures apart. Their texts do not: each answer of S3 has its own request ID.
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
