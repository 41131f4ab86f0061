package components

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// BackupBucketArgs are the arguments of a BackupBucket.
type BackupBucketArgs struct {
	// Protect prevents the deletion of the bucket and its objects. Default: true.
	Protect *bool `pulumi:"protect"`
	// VersionsKept is how many noncurrent versions of each object are kept regardless of age, except for those of the
	// monitoring history. Default: 30.
	VersionsKept int `pulumi:"versionsKept"`
	// VersionDays is the minimum number of days that a noncurrent version is kept. Default: 30, so that objects deleted by
	// a compromised server can still be restored when the compromise is noticed.
	VersionDays int `pulumi:"versionDays"`
}

// BackupBucket holds the data that must outlive every server: monitoring history and certificates. Servers may write
// and delete objects, but no versions of them, so nothing on a server can destroy a backup.
type BackupBucket struct {
	pulumi.ResourceState

	Bucket
}

// NewBackupBucket creates a BackupBucket.
func NewBackupBucket(
	ctx *pulumi.Context, name string, args *BackupBucketArgs, opts ...pulumi.ResourceOption,
) (*BackupBucket, error) {
	if args == nil {
		args = &BackupBucketArgs{}
	}
	protect := args.Protect == nil || *args.Protect
	rule := lifecycleRule{id: noncurrentVersions, versionsKept: args.VersionsKept, days: args.VersionDays}
	if rule.versionsKept == 0 {
		rule.versionsKept = 30
	}
	if rule.days == 0 {
		rule.days = 30
	}
	if rule.versionsKept < 0 || rule.versionsKept > 100 || rule.days < 1 {
		return nil, fmt.Errorf("backup bucket %s: Args.VersionsKept must be from 1 to 100 (the limit of S3), "+
			"Args.VersionDays at least 1", name)
	}

	backup := &BackupBucket{}
	if err := ctx.RegisterComponentResource(token("BackupBucket"), name, backup, opts...); err != nil {
		return nil, err
	}
	bucket, err := newPrivateBucket(ctx, name, !protect, backup, pulumi.Protect(protect))
	if err != nil {
		return nil, fmt.Errorf("backup bucket %s: %w", name, err)
	}
	// Keys of the history are never reused: keeping versions of each key regardless of age would keep everything.
	history := lifecycleRule{id: "bound-monitoring-history", prefix: "history/", days: rule.days}
	if _, err := newLifecycle(ctx, name, bucket, rule, history); err != nil {
		return nil, fmt.Errorf("backup bucket %s: %w", name, err)
	}

	backup.Bucket = bucket.public()
	return backup, ctx.RegisterResourceOutputs(backup, pulumi.Map{
		"name": backup.Name,
		"arn":  backup.ARN,
	})
}
