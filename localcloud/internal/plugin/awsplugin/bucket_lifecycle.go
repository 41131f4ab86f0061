package awsplugin

import (
	"context"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// maxLifecycleRules is S3's limit.
const maxLifecycleRules = 1000

// bucketLifecycle keeps the lifecycle configurations of buckets. They are
// checked as S3 does and then not acted on: a rehearsal is over within days.
type bucketLifecycle struct{}

func (bucketLifecycle) create(_ context.Context, op *operation, inputs property.Map) (string, error) {
	l, err := decodeLifecycle(inputs)
	if err != nil {
		return "", err
	}
	b, err := op.bucket(l.Bucket)
	if err != nil {
		return "", err
	}
	b.Lifecycle = l
	return l.ID, nil
}

func (bucketLifecycle) read(_ context.Context, op *operation, id string) (any, error) {
	b, ok := op.Buckets[id]
	if !ok || b.Lifecycle == nil {
		return nil, errGone
	}
	return b.Lifecycle, nil
}

func (bucketLifecycle) update(_ context.Context, op *operation, id string, inputs property.Map) error {
	b, ok := op.Buckets[id]
	if !ok || b.Lifecycle == nil {
		return errGone
	}
	l, err := decodeLifecycle(inputs)
	if err != nil {
		return err
	}
	b.Lifecycle = l
	return nil
}

func (bucketLifecycle) delete(_ context.Context, op *operation, id string) error {
	b, ok := op.Buckets[id]
	if !ok || b.Lifecycle == nil {
		return errGone
	}
	b.Lifecycle = nil
	return nil
}

func decodeLifecycle(inputs property.Map) (*store.BucketLifecycle, error) {
	var l store.BucketLifecycle
	if err := schema.Decode(inputs, &l); err != nil {
		return nil, err
	}
	if err := checkOwner(l.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	if len(l.Rules) == 0 || len(l.Rules) > maxLifecycleRules {
		return nil, apiError("MalformedXML", "rules must hold 1 to %d rules", maxLifecycleRules)
	}
	ids := map[string]bool{}
	for _, rule := range l.Rules {
		if ids[rule.ID] {
			return nil, apiError("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule: %s", rule.ID)
		}
		ids[rule.ID] = true
		if err := checkLifecycleRule(rule); err != nil {
			return nil, err
		}
	}
	l.ID = l.Bucket
	return &l, nil
}

func checkLifecycleRule(rule store.LifecycleRule) error {
	invalid := func(format string, args ...any) error {
		return apiError("InvalidArgument", "lifecycle rule %q: "+format, append([]any{rule.ID}, args...)...)
	}
	if rule.ID == "" || len(rule.ID) > 255 {
		return invalid("id must have 1 to 255 characters")
	}
	if rule.Expiration == nil && rule.NoncurrentVersionExpiration == nil && rule.AbortIncompleteMultipartUpload == nil {
		return invalid("at least one action needs to be specified in a rule")
	}
	if abort := rule.AbortIncompleteMultipartUpload; abort != nil {
		if abort.DaysAfterInitiation < 1 {
			return invalid("abortIncompleteMultipartUpload.daysAfterInitiation must be a positive integer")
		}
		if f := rule.Filter; f != nil && (f.Tag != nil || f.And != nil && len(f.And.Tags) > 0) {
			return invalid("abortIncompleteMultipartUpload cannot be specified with a filter on tags")
		}
	}
	if expiration := rule.NoncurrentVersionExpiration; expiration != nil {
		if expiration.NoncurrentDays < 1 {
			return invalid("noncurrentVersionExpiration.noncurrentDays must be a positive integer")
		}
		if expiration.NewerNoncurrentVersions < 0 || expiration.NewerNoncurrentVersions > 100 {
			return invalid("noncurrentVersionExpiration.newerNoncurrentVersions must be 1 to 100")
		}
	}
	return checkExpiration(rule.Expiration, invalid)
}

func checkExpiration(expiration *store.LifecycleExpiration, invalid func(string, ...any) error) error {
	if expiration == nil {
		return nil
	}
	given := 0
	for _, set := range []bool{expiration.Date != "", expiration.Days != 0, expiration.ExpiredObjectDeleteMarker} {
		if set {
			given++
		}
	}
	if given != 1 {
		return invalid("expiration needs exactly one of date, days, expiredObjectDeleteMarker")
	}
	if expiration.Days < 0 {
		return invalid("expiration.days must be a positive integer")
	}
	if expiration.Date != "" {
		date, err := time.Parse(time.RFC3339, expiration.Date)
		if err != nil || !date.Equal(date.Truncate(24*time.Hour)) {
			return invalid("expiration.date %q must be midnight UTC in the form 2006-01-02T00:00:00Z", expiration.Date)
		}
	}
	return nil
}
