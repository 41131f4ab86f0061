package components

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/server"
)

//go:embed scripts/build.sh
var buildScript string

//go:embed scripts/sync.sh
var syncScript string

// ContentBucketArgs are the arguments of a ContentBucket.
type ContentBucketArgs struct {
	// SiteDir is the directory of the Jekyll site.
	SiteDir string `pulumi:"siteDir"`
	// SourceHash changes when a file of the site's source does. The site is
	// built when it changes, and at no other time.
	SourceHash string `pulumi:"sourceHash"`
	// WorkDir is a directory for what the build leaves beside the site itself.
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

	Name pulumi.StringOutput `pulumi:"name"`
	ARN  pulumi.StringOutput `pulumi:"arn"`
	// Release names the build: the first 16 digits of SHA256SUMS' own SHA-256.
	Release pulumi.StringOutput `pulumi:"release"`
	// Uploaded is what a server that needs the site has to wait for.
	Uploaded pulumi.Resource
}

// NewContentBucket makes a ContentBucket.
func NewContentBucket(ctx *pulumi.Context, name string, args *ContentBucketArgs, opts ...pulumi.ResourceOption) (*ContentBucket, error) {
	if args == nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, errNoArgs)
	}
	if err := required(map[string]bool{
		"SiteDir": args.SiteDir != "", "SourceHash": args.SourceHash != "", "WorkDir": args.WorkDir != "", "Region": args.Region != "",
	}); err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}
	jekyllEnv := args.JekyllEnv
	if jekyllEnv == "" {
		jekyllEnv = "production"
	}
	// The commands run in the site's directory.
	manifest, err := filepath.Rel(args.SiteDir, filepath.Join(args.WorkDir, ctx.Stack(), "SHA256SUMS"))
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: Args.SiteDir and Args.WorkDir: %w", name, err)
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
	lifecycle, err := newLifecycle(ctx, name, bucket, lifecycleRule{id: everything, days: 30})
	if err != nil {
		return nil, fmt.Errorf("content bucket %s: %w", name, err)
	}

	environment := pulumi.StringMap{
		"BUILD_COMMAND": pulumi.String(args.BuildCommand),
		"JEKYLL_ENV":    pulumi.String(jekyllEnv),
		"MANIFEST":      pulumi.String(manifest),
	}
	build, err := newLocalCommand(ctx, name+"-build", localCommand{
		Script:      buildScript,
		Dir:         args.SiteDir,
		Environment: environment,
		Triggers:    pulumi.Array{pulumi.String(args.SourceHash), pulumi.String(args.BuildCommand), pulumi.String(jekyllEnv)},
		Timeout:     "30m",
	}, pulumi.Parent(content))
	if err != nil {
		return nil, err
	}
	sync, err := newLocalCommand(ctx, name+"-sync", localCommand{
		Script: syncScript,
		Dir:    args.SiteDir,
		Environment: pulumi.StringMap{
			"BUILD_COMMAND": environment["BUILD_COMMAND"],
			"JEKYLL_ENV":    environment["JEKYLL_ENV"],
			"MANIFEST":      environment["MANIFEST"],
			"BUCKET":        bucket.bucket.Bucket,
			"REGION":        pulumi.String(args.Region),
			"BUILD":         pulumi.String(buildScript),
		},
		// Each build is synced, though it has the source of an earlier one: a sync
		// that failed in between has left the bucket half way to another build.
		Triggers: pulumi.Array{build.ID(), bucket.bucket.Bucket},
		Timeout:  "30m",
	}, pulumi.Parent(content), pulumi.DependsOn(append(bucket.ready, lifecycle, build)))
	if err != nil {
		return nil, err
	}

	content.Name = bucket.bucket.Bucket
	content.ARN = bucket.bucket.Arn
	content.Release = sync.Stdout.ApplyT(strings.TrimSpace).(pulumi.StringOutput)
	content.Uploaded = sync
	return content, ctx.RegisterResourceOutputs(content, pulumi.Map{
		"name":    content.Name,
		"arn":     content.ARN,
		"release": content.Release,
	})
}

// SiteHash is a hash over the source of a Jekyll site, without what Jekyll makes of it.
func SiteHash(siteDir string) (string, error) {
	hash, err := server.HashDir(siteDir, func(path string) bool {
		for _, output := range []string{
			"_site", ".jekyll-cache", ".sass-cache", ".bundle", ".git",
			"vendor/bundle", "vendor/cache", "vendor/gems", "vendor/ruby", // of bundler; Jekyll does not publish them either
		} {
			if strings.HasPrefix(path, output+"/") {
				return true
			}
		}
		return false
	})
	if err != nil {
		return "", fmt.Errorf("hash the site's source: %w", err)
	}
	return hash, nil
}
