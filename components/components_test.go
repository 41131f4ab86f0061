package components

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/require"
)

// noResources fails the test when a resource is registered.
type noResources struct{ t *testing.T }

func (m noResources) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	require.Fail(m.t, "a resource was registered", "%s %s", args.TypeToken, args.Name)
	return "", nil, nil
}

func (m noResources) Call(pulumi.MockCallArgs) (resource.PropertyMap, error) { return nil, nil }

func TestComponentWithoutMandatoryArgsCreatesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		make    func(*pulumi.Context) error
		message string
	}{
		"network without args": {
			func(ctx *pulumi.Context) error { _, err := NewNetwork(ctx, "n", nil); return err }, "network n: no Args given",
		},
		"network, empty": {
			func(ctx *pulumi.Context) error {
				_, err := NewNetwork(
					ctx, "n", &NetworkArgs{},
				)
				return err
			}, "the mandatory argument Region is missing",
		},
		"network, too small": {func(ctx *pulumi.Context) error {
			_, err := NewNetwork(ctx, "n", &NetworkArgs{CIDRBlock: "10.0.0.0/28", Region: "x", InstanceType: "t3.micro"})
			return err
		}, "smaller than the /24"},
		"content bucket, none": {
			func(ctx *pulumi.Context) error { _, err := NewContentBucket(ctx, "c", nil); return err }, "no Args given",
		},
		"content bucket, empty": {func(ctx *pulumi.Context) error {
			_, err := NewContentBucket(ctx, "c", &ContentBucketArgs{})
			return err
		},
			"the mandatory argument Region is missing\nthe mandatory argument SiteDir is missing\nthe mandatory argument " +
				"WorkDir is missing"},
		"backup bucket": {func(ctx *pulumi.Context) error {
			_, err := NewBackupBucket(ctx, "b", &BackupBucketArgs{VersionsKept: 101})
			return err
		}, "Args.VersionsKept must be from 1 to 100"},
		"SSH CA without args": {
			func(ctx *pulumi.Context) error { _, err := NewSshCA(ctx, "s", nil); return err }, "no Args given",
		},
		"SSH CA, empty": {
			func(ctx *pulumi.Context) error {
				_, err := NewSshCA(
					ctx, "s", &SshCAArgs{},
				)
				return err
			}, "the mandatory argument Names is missing",
		},
		"web server without": {
			func(ctx *pulumi.Context) error { _, err := NewWebServer(ctx, "w", nil); return err }, "no Args given",
		},
		"web server, empty": {func(ctx *pulumi.Context) error {
			_, err := NewWebServer(ctx, "w", &WebServerArgs{})
			return err
		}, "the mandatory argument Bundle is missing"},
		"DNS without args": {
			func(ctx *pulumi.Context) error { _, err := NewDNS(ctx, "d", nil); return err }, "DNS d: no Args given",
		},
		"DNS, empty": {
			func(ctx *pulumi.Context) error {
				_, err := NewDNS(
					ctx, "d", &DNSArgs{},
				)
				return err
			}, "the mandatory argument Address is missing",
		},
		"deletion guard, none": {
			func(ctx *pulumi.Context) error { _, err := NewDeletionGuard(ctx, "g", nil); return err }, "no Args given",
		},
		"deletion guard, empty": {func(ctx *pulumi.Context) error {
			_, err := NewDeletionGuard(ctx, "g", &DeletionGuardArgs{})
			return err
		}, "the mandatory argument DependsOn is missing"},
		"cutover without args": {
			func(ctx *pulumi.Context) error { _, err := NewCutover(ctx, "c", nil); return err }, "cutover c: no Args given",
		},
		"cutover, empty": {func(ctx *pulumi.Context) error {
			_, err := NewCutover(ctx, "c", &CutoverArgs{})
			return err
		}, "the mandatory argument ServerID is missing"},
		"uptime monitor, none": {
			func(ctx *pulumi.Context) error { _, err := NewUptimeMonitor(ctx, "u", nil); return err }, "no Args given",
		},
		"uptime monitor, empty": {func(ctx *pulumi.Context) error {
			_, err := NewUptimeMonitor(ctx, "u", &UptimeMonitorArgs{})
			return err
		}, "the mandatory argument Domain is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			err := pulumi.RunErr(test.make, pulumi.WithMocks("immutable-infra", "test", noResources{t}))
			require.ErrorContains(t, err, test.message)
		})
	}
}
