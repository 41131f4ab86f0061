package awsplugin

import (
	"time"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxLifecycleRules is S3's limit.
const maxLifecycleRules = 1000

// checkLifecycle checks a lifecycle configuration as S3 does. Nobody acts on it:
// a rehearsal is over within days.
func checkLifecycle(op *operation, r store.Record) error {
	rules := r.Objects("rules")
	if len(rules) == 0 || len(rules) > maxLifecycleRules {
		return apiError("MalformedXML", "rules must hold 1 to %d rules", maxLifecycleRules)
	}
	ids := map[string]bool{}
	for _, rule := range rules {
		id := rule.Text("id")
		if ids[id] {
			return apiError("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule: %s", id)
		}
		ids[id] = true
		if problem := lifecycleProblem(rule); problem != "" {
			return apiError("InvalidArgument", "lifecycle rule %q: %s", id, problem)
		}
	}
	return checkOwner(op, r)
}

// lifecycleProblem says what S3 refuses a rule for, or "".
func lifecycleProblem(rule store.Record) string {
	expiration, noncurrent := rule.Object("expiration"), rule.Object("noncurrentVersionExpiration")
	abort, filter := rule.Object("abortIncompleteMultipartUpload"), rule.Object("filter")
	given := 0
	for _, property := range []string{"date", "days", "expiredObjectDeleteMarker"} {
		if expiration.Has(property) && expiration[property] != 0.0 {
			given++
		}
	}
	newer := noncurrent.Number("newerNoncurrentVersions")
	date, err := time.Parse(time.RFC3339, expiration.Text("date"))
	switch id := rule.Text("id"); {
	case id == "" || len(id) > 255:
		return "id must have 1 to 255 characters"
	case expiration == nil && noncurrent == nil && abort == nil:
		return "at least one action needs to be specified in a rule"
	case abort != nil && abort.Number("daysAfterInitiation") < 1:
		return "abortIncompleteMultipartUpload.daysAfterInitiation must be a positive integer"
	case abort != nil && (filter.Has("tag") || filter.Has("and.tags")):
		return "abortIncompleteMultipartUpload cannot be specified with a filter on tags"
	case noncurrent != nil && noncurrent.Number("noncurrentDays") < 1:
		return "noncurrentVersionExpiration.noncurrentDays must be a positive integer"
	case newer < 0 || newer > 100:
		return "noncurrentVersionExpiration.newerNoncurrentVersions must be 1 to 100"
	case expiration != nil && given != 1:
		return "expiration needs exactly one of date, days, expiredObjectDeleteMarker"
	case expiration.Number("days") < 0:
		return "expiration.days must be a positive integer"
	case expiration.Text("date") != "" && (err != nil || !date.Equal(date.Truncate(24*time.Hour))):
		return "expiration.date " + expiration.Text("date") + " must be midnight UTC in the form 2006-01-02T00:00:00Z"
	}
	return ""
}
