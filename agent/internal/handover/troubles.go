package handover

import (
	"context"
	"errors"
	"log/slog"

	"github.com/aws/smithy-go"

	"immutable-infra/agent/internal/bucket"
)

// troubles logs what fails, and what works again, when it changes: a failure that
// is met at each poll would fill the journal.
type troubles struct {
	log *slog.Logger
	// kinds is the kind of the last failure of each job that failed last time.
	kinds map[string]string
}

// note takes down how a job went and tells whether it went well. The error of a
// process that is being stopped is none.
func (t *troubles) note(job string, err error) (ok bool) {
	if errors.Is(err, context.Canceled) {
		return false
	}
	before, failed := t.kinds[job]
	if err == nil {
		if failed {
			delete(t.kinds, job)
			t.log.Info(job + ": works again")
		}
		return true
	}
	if now := kind(err); !failed || before != now {
		t.kinds[job] = now
		t.log.Warn(job+": failed", "error", err)
	}
	return false
}

// kind is what tells one failure from another: the texts of S3's answers will
// not do, since each has the id of its request.
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
