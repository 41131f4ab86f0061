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
	// SiteDir is the directory of the Jekyll site. A relative path is relative to the project's directory.
	SiteDir string `pulumi:"siteDir"`
	// WorkDir is the directory for builds.
	WorkDir string `pulumi:"workDir"`
	// Region is the bucket's AWS region.
	Region string `pulumi:"region"`
	// JekyllEnv is JEKYLL_ENV of the build. Default: production.
	JekyllEnv string `pulumi:"jekyllEnv"`
	// BuildCommand builds the site into _site. Default: jekyll build, with bundler if the site has a Gemfile.
	BuildCommand string `pulumi:"buildCommand"`
}

// ContentBucket is the bucket from which every server downloads the site, and the site in it:
//
//	site/<path>   the files of the build
//	SHA256SUMS    the list of these files, in sha256sum's format; uploaded last
type ContentBucket struct {
	pulumi.ResourceState

	Bucket
	// Release identifies the build: the first 16 digits of the SHA-256 of SHA256SUMS.
	Release pulumi.StringOutput `pulumi:"release"`
	// Ready is the upload of the site.
	Ready []pulumi.Resource
	// Lifecycle bounds noncurrent versions. Servers do not need to wait for it.
	Lifecycle pulumi.Resource
}

// NewContentBucket creates a ContentBucket.
func NewContentBucket(
	ctx *pulumi.Context, name string, args *ContentBucketArgs, opts ...pulumi.ResourceOption,
) (*ContentBucket, error) {
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
	// The site is built only when its source changes.
	sourceHash, err := publish.SiteHash(args.SiteDir, args.WorkDir)
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}
	content := &ContentBucket{}
	if err := ctx.RegisterComponentResource(token("ContentBucket"), name, content, opts...); err != nil {
		return nil, err
	}
	// The content can be rebuilt, so the bucket may be deleted together with it.
	bucket, err := newPrivateBucket(ctx, name, true, content)
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}
	// Noncurrent versions are for inspection only: a rollback rebuilds from the source. The sync does not wait for the
	// lifecycle, which S3 takes 30 s to create.
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
	// If the build ran on another machine, the sync builds first.
	syncEnvironment := maps.Clone(environment)
	syncEnvironment["BUCKET"] = bucket.bucket.Bucket
	syncEnvironment["REGION"] = pulumi.String(args.Region)
	sync, err := newLocalCommand(ctx, name+"-sync", localCommand{
		Script:      goRun("publish", "sync"),
		Environment: syncEnvironment,
		// Every build is synced, even one of an earlier source: a sync that failed in between may have left a mixture of
		// two builds in the bucket.
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
