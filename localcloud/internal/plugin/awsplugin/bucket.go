package awsplugin

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"immutable-infra/localcloud/internal/plugin/awsplugin/policy"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

const (
	// hostedZoneID is that of S3's website endpoints in us-east-1, which Pulumi
	// shows for a bucket. Here it serves in every region.
	hostedZoneID = "Z3AQBSTGFYJSTF"
	// defaultOwnership is that of a bucket without ownership controls of its own.
	defaultOwnership = "BucketOwnerEnforced"
)

// checkBucket follows the rules for the names of general purpose buckets.
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
	return op.onS3("create bucket "+name, func(server objects) error {
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

// applyBucket gives a new bucket the access that roles had to it before it was made.
func applyBucket(ctx context.Context, op *operation, before, after store.Record) error {
	if before != nil {
		return nil
	}
	return op.syncBucket(ctx, after.Text("id"))
}

func showBucket(ctx context.Context, op *operation, r store.Record) (store.Record, error) {
	name := r.Text("id")
	exists := false
	err := op.onS3("look for bucket "+name, func(server objects) (err error) {
		exists, err = server.BucketExists(ctx, name)
		return err
	})
	if err == nil && !exists {
		delete(op.Buckets, name)
		err = errGone
	}
	return r, err
}

func removeBucket(ctx context.Context, op *operation, r store.Record) error {
	name := r.Text("id")
	return op.onS3("delete bucket "+name, func(server objects) error {
		if r.Flag("forceDestroy") {
			if err := server.EmptyBucket(ctx, name); err != nil {
				return err
			}
		}
		return server.DeleteBucket(ctx, name)
	})
}

// checkVersioning refuses a way back to a bucket that never had versions: S3 has none.
func checkVersioning(op *operation, r store.Record) error {
	before, after := versioning(op.Buckets[r.Text("bucket")].Versioning), versioning(r)
	if r["id"] != nil && after == "Disabled" && before != "Disabled" {
		return fmt.Errorf(
			"versioningConfiguration.status cannot be updated from %q to \"Disabled\": write \"Suspended\"", before)
	}
	return nil
}

// versioning is the status of a bucket's versioning: Enabled, Suspended or Disabled.
func versioning(r store.Record) string { return r.Text("versioningConfiguration.status") }

// applyVersioning suspends versioning when the setting goes.
func applyVersioning(ctx context.Context, op *operation, before, after store.Record) error {
	name, status := either(before, after).Text("bucket"), versioning(after)
	if after == nil && versioning(before) == "Enabled" {
		status = "Suspended"
	}
	if status == "" || status == "Disabled" {
		return nil
	}
	return op.onS3("set the versioning of bucket "+name, func(server objects) error {
		return server.PutVersioning(ctx, name, status)
	})
}

// checkEncryption checks the default encryption of a bucket. The S3 server does
// not encrypt; the setting has no effect that a client could see.
func checkEncryption(_ *operation, r store.Record) error {
	if rules := r.Objects("rules"); len(rules) == 1 && rules[0].Has("applyServerSideEncryptionByDefault") {
		return nil
	}
	return apiError("MalformedXML", "rules must hold exactly one rule, with applyServerSideEncryptionByDefault")
}

func applyOwnership(ctx context.Context, op *operation, before, after store.Record) error {
	name, ownership := either(before, after).Text("bucket"), cmp.Or(after.Text("rule.objectOwnership"), defaultOwnership)
	return op.onS3("set the object ownership of bucket "+name, func(server objects) error {
		return server.PutOwnership(ctx, name, ownership)
	})
}

// checkPublicAccess refuses to restrict a bucket that is public already: the S3
// server could not enforce it. Of the four settings, localcloud has a use for the
// two about policies: it has no ACLs.
func checkPublicAccess(op *operation, r store.Record) error {
	name := r.Text("bucket")
	own, err := op.bucketPolicy(name)
	if err != nil {
		return err
	}
	if r.Flag("restrictPublicBuckets") && own != nil && own.IsPublic() {
		return apiError("NotImplemented",
			"bucket %s has a public policy, which localcloud cannot restrict: remove the policy", name)
	}
	return nil
}

func applyPublicAccess(_ context.Context, op *operation, before, after store.Record) error {
	op.Buckets[either(before, after).Text("bucket")].PublicAccessRemoved = after == nil
	return nil
}

// blocksPublicPolicy reports whether the bucket takes no public policy. That is
// so for every new bucket, until its public access block is removed.
func blocksPublicPolicy(b *store.Bucket) bool {
	if b.PublicAccess == nil {
		return !b.PublicAccessRemoved
	}
	return b.PublicAccess.Flag("blockPublicPolicy") || b.PublicAccess.Flag("restrictPublicBuckets")
}

// bucketPolicy returns the policy that the program gave a bucket, or nil.
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

// checkBucketPolicy checks a bucket's policy. The S3 server gets it merged with
// the policies of roles; the program sees only its own.
func checkBucketPolicy(op *operation, r store.Record) error {
	b := op.Buckets[r.Text("bucket")]
	document, err := policy.BucketPolicy(r.Text("bucket"), r.Text("policy"))
	if err != nil {
		return apiError("MalformedPolicy", "%s", err)
	}
	if document.IsPublic() && blocksPublicPolicy(b) {
		return apiError("AccessDenied",
			"User: arn:aws:iam::%s:user/localcloud is not authorized to perform: s3:PutBucketPolicy on resource: %q "+
				"because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
			accountID, b.Shown.Text("arn"))
	}
	identities, err := op.identities()
	if err != nil {
		return err
	}
	if err := document.CheckPrincipals(accountID, identities); err != nil {
		return apiError("MalformedPolicy", "%s", err)
	}
	return nil
}

func applyBucketPolicy(ctx context.Context, op *operation, before, after store.Record) error {
	return op.syncBucket(ctx, either(before, after).Text("bucket"))
}

// checkLifecycle checks a lifecycle configuration as S3 does. It has no effect: a rehearsal is over
// within days.
func checkLifecycle(_ *operation, r store.Record) error {
	ids := map[string]bool{}
	for _, rule := range r.Objects("rules") {
		id := rule.Text("id")
		if ids[id] {
			return apiError("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule: %s", id)
		}
		ids[id] = true
		if problem := lifecycleProblem(rule); problem != "" {
			return apiError("InvalidArgument", "lifecycle rule %q: %s", id, problem)
		}
	}
	return nil
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
	date, err := time.Parse(time.RFC3339, expiration.Text("date"))
	switch {
	case expiration == nil && noncurrent == nil && abort == nil:
		return "at least one action needs to be specified in a rule"
	case abort != nil && abort.Number("daysAfterInitiation") < 1:
		return "abortIncompleteMultipartUpload.daysAfterInitiation must be a positive integer"
	case abort != nil && (filter.Has("tag") || filter.Has("and.tags")):
		return "abortIncompleteMultipartUpload cannot be specified with a filter on tags"
	case expiration != nil && given != 1:
		return "expiration needs exactly one of date, days, expiredObjectDeleteMarker"
	case expiration.Text("date") != "" && (err != nil || !date.Equal(date.Truncate(24*time.Hour))):
		return "expiration.date " + expiration.Text("date") + " must be midnight UTC in the form 2006-01-02T00:00:00Z"
	}
	return ""
}
