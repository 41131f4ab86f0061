package components

import (
	"fmt"
	"maps"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/publish"
)

// ContentBucketArgs are the arguments of a ContentBucket.
type ContentBucketArgs struct {
	// SiteDir is the directory of the Jekyll site. Relative paths start at the project's directory.
	SiteDir string `pulumi:"siteDir"`
	// WorkDir is a directory for builds.
	WorkDir string `pulumi:"workDir"`
	// Region is the bucket's AWS region.
	Region string `pulumi:"region"`
	// JekyllEnv is JEKYLL_ENV of the build. Defaulted: production.
	JekyllEnv string `pulumi:"jekyllEnv"`
	// BuildCommand builds the site into _site. Optional: without it, Jekyll is
	// run, by bundler where the site has a Gemfile.
	BuildCommand string `pulumi:"buildCommand"`
}

// ContentBucket is the bucket that every server takes the site from, and the
// site in it:
//
//	site/<path>   the files of the build
//	SHA256SUMS    their list, in sha256sum's format; uploaded last
type ContentBucket struct {
	pulumi.ResourceState

	Bucket
	// Release names the build: the first 16 digits of SHA256SUMS' own SHA-256.
	Release pulumi.StringOutput `pulumi:"release"`
	// Ready is the upload of the site.
	Ready []pulumi.Resource
	// Lifecycle bounds the earlier versions. A server does not need it.
	Lifecycle pulumi.Resource
}

// NewContentBucket makes a ContentBucket.
func NewContentBucket(ctx *pulumi.Context, name string, args *ContentBucketArgs, opts ...pulumi.ResourceOption) (*ContentBucket, error) {
	if args == nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{
		"SiteDir": args.SiteDir != "", "WorkDir": args.WorkDir != "", "Region": args.Region != "",
	}); err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}
	jekyllEnv := args.JekyllEnv
	if jekyllEnv == "" {
		jekyllEnv = "production"
	}
	// The site is built when its source changes, and at no other time.
	sourceHash, err := publish.SiteHash(args.SiteDir, args.WorkDir)
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}
	content := &ContentBucket{}
	if err := ctx.RegisterComponentResource(token("ContentBucket"), name, content, opts...); err != nil {
		return nil, err
	}
	// All that is in it can be built again.
	bucket, err := newPrivateBucket(ctx, name, true, content)
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}
	// Earlier contents are of use for a look back, not for a roll-back, which
	// builds from the source.
	// The sync does not wait for it: S3 takes 30 s.
	content.Lifecycle, err = newLifecycle(ctx, name, bucket, lifecycleRule{id: noncurrentVersions, days: 30})
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}

	environment := pulumi.StringMap{
		"SITE_DIR":      pulumi.String(args.SiteDir),
		"WORK_DIR":      pulumi.String(args.WorkDir),
		"STACK":         pulumi.String(ctx.Stack()),
		"BUILD_COMMAND": pulumi.String(args.BuildCommand),
		"JEKYLL_ENV":    pulumi.String(jekyllEnv),
		"SOURCE_HASH":   pulumi.String(sourceHash),
	}
	build, err := newLocalCommand(ctx, name+"-build", localCommand{
		Script:      goRun("publish", "build"),
		Environment: environment,
		Triggers:    pulumi.Array{pulumi.String(sourceHash), pulumi.String(args.BuildCommand), pulumi.String(jekyllEnv)},
		Timeout:     "30m",
	}, pulumi.Parent(content))
	if err != nil {
		return nil, err
	}
	// The build may be from another machine or another time: then the sync builds first.
	syncEnvironment := maps.Clone(environment)
	syncEnvironment["BUCKET"] = bucket.bucket.Bucket
	syncEnvironment["REGION"] = pulumi.String(args.Region)
	sync, err := newLocalCommand(ctx, name+"-sync", localCommand{
		Script:      goRun("publish", "sync"),
		Environment: syncEnvironment,
		// Each build is synced, though it has the source of an earlier one: a sync
		// that failed in between has left the bucket half way to another build.
		Triggers: pulumi.Array{build.ID(), bucket.bucket.Bucket},
		Timeout:  "30m",
	}, pulumi.Parent(content), pulumi.DependsOn(append(bucket.ready, build)))
	if err != nil {
		return nil, err
	}

	content.Bucket = bucket.public()
	content.Release = sync.Stdout.ApplyT(strings.TrimSpace).(pulumi.StringOutput)
	content.Ready = []pulumi.Resource{sync}
	return content, ctx.RegisterResourceOutputs(content, pulumi.Map{
		"name":    content.Name,
		"arn":     content.ARN,
		"release": content.Release,
	})
}
