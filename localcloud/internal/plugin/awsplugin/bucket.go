package awsplugin

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

const (
	// hostedZoneID is the hosted zone of S3's website endpoints in us-east-1, which is an output of buckets. Here it
	// is the same in all regions.
	hostedZoneID = "Z3AQBSTGFYJSTF"
	// defaultOwnership is the object ownership of a bucket without ownership controls.
	defaultOwnership = "BucketOwnerEnforced"
)

// checkBucket checks the naming rules for general purpose buckets.
func checkBucket(_ *operation, r store.Record) error {
	name := r.Text("bucket")
	_, notAddress := netip.ParseAddr(name)
	wellFormed := regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`).MatchString(name)
	reserved := strings.HasPrefix(name, "xn--") || strings.HasPrefix(name, "sthree-") ||
		strings.HasSuffix(name, "-s3alias") || strings.HasSuffix(name, "--ol-s3")
	if !wellFormed || reserved || strings.Contains(name, "..") || notAddress == nil {
		return apiError("InvalidBucketName",
			"The specified bucket is not valid: %q; write 3 to 63 characters of a-z, 0-9, - and ., with a letter or digit "+
				"at both ends", name)
	}
	return nil
}

func makeBucket(ctx context.Context, op *operation, r store.Record) error {
	name := r.Text("bucket")
	r["hostedZoneId"], r["region"], r["bucketDomainName"] = hostedZoneID, op.region, name+".s3.amazonaws.com"
	r["bucketRegionalDomainName"] = fmt.Sprintf("%s.s3.%s.amazonaws.com", name, op.region)
	return op.onS3("create bucket "+name, func(server objectStore) error {
		exists, err := server.BucketExists(ctx, name)
		if err != nil {
			return err
		}
		if exists {
			return apiError("BucketAlreadyOwnedByYou",
				"Your previous request to create the named bucket succeeded and you already own it: %s", name)
		}
		return server.CreateBucket(ctx, name)
	})
}

// applyBucket gives roles access to a new bucket, as their policies can refer to it before it exists.
func applyBucket(ctx context.Context, op *operation, before, after store.Record) error {
	if before != nil {
		return nil
	}
	return op.syncBucket(ctx, after.Text("id"))
}

func showBucket(ctx context.Context, op *operation, r store.Record) (store.Record, error) {
	name := r.Text("id")
	exists := false
	err := op.onS3("read bucket "+name, func(server objectStore) (err error) {
		exists, err = server.BucketExists(ctx, name)
		return err
	})
	if err == nil && !exists {
		delete(op.Buckets, name)
		err = errNotFound
	}
	return r, err
}

func removeBucket(ctx context.Context, op *operation, r store.Record) error {
	name := r.Text("id")
	return op.onS3("delete bucket "+name, func(server objectStore) error {
		if r.Flag("forceDestroy") {
			if err := server.EmptyBucket(ctx, name); err != nil {
				return err
			}
		}
		return server.DeleteBucket(ctx, name)
	})
}

// applyVersioning suspends versioning if the setting is deleted: in S3, versioning cannot be turned off again.
func applyVersioning(ctx context.Context, op *operation, before, after store.Record) error {
	name, status := latest(before, after).Text("bucket"), "Suspended"
	if after != nil {
		status = after.Text("versioningConfiguration.status")
	}
	return op.onS3("set the versioning of bucket "+name, func(server objectStore) error {
		return server.PutVersioning(ctx, name, status)
	})
}

func applyOwnership(ctx context.Context, op *operation, before, after store.Record) error {
	name, ownership := latest(before, after).Text("bucket"), cmp.Or(after.Text("rule.objectOwnership"), defaultOwnership)
	return op.onS3("set the object ownership of bucket "+name, func(server objectStore) error {
		return server.PutOwnership(ctx, name, ownership)
	})
}

// bucketPolicy returns a bucket's policy as the program set it, or nil.
func (op *operation) bucketPolicy(name string) (*policy.Document, error) {
	b := op.Buckets[name]
	if b == nil || b.Policy == nil {
		return nil, nil
	}
	document, err := policy.BucketPolicy(name, b.Policy.Text("policy"))
	if err != nil {
		return nil, apiError("MalformedPolicy", "bucket %s: %s", name, err)
	}
	return &document, nil
}

// checkBucketPolicy validates a bucket policy. The S3 server gets it merged with the policies of roles, but the
// program sees only its own. It must not be public: on AWS, every new bucket has a public access block, and
// localcloud does not support buckets without one.
func checkBucketPolicy(op *operation, r store.Record) error {
	document, err := policy.BucketPolicy(r.Text("bucket"), r.Text("policy"))
	if err != nil {
		return apiError("MalformedPolicy", "%s", err)
	}
	if document.IsPublic() {
		return apiError("AccessDenied",
			"User: arn:aws:iam::%s:user/localcloud is not authorized to perform: s3:PutBucketPolicy on resource: %q "+
				"because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
			accountID, op.Buckets[r.Text("bucket")].Shown.Text("arn"))
	}
	return nil
}

func applyBucketPolicy(ctx context.Context, op *operation, before, after store.Record) error {
	return op.syncBucket(ctx, latest(before, after).Text("bucket"))
}

// checkLifecycle validates a lifecycle configuration as S3 does. The configuration has no effect, since a
// rehearsal is over within days.
func checkLifecycle(_ *operation, r store.Record) error {
	ids := map[string]bool{}
	for _, rule := range r.Objects("rules") {
		id := rule.Text("id")
		if ids[id] {
			return apiError("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule: %s", id)
		}
		ids[id] = true
		actions := []string{"expiration", "noncurrentVersionExpiration", "abortIncompleteMultipartUpload"}
		if !slices.ContainsFunc(actions, rule.Has) {
			return apiError("InvalidArgument", "lifecycle rule %q: at least one action needs to be specified in a rule", id)
		}
	}
	return nil
}
