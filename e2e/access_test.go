package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The roles of GitHub's workflows, which ops/access creates.
const (
	previewRole = "immutable-infra-preview"
	drillRole   = "immutable-infra-restore-drill"
)

// deployRole returns the role that deploys a stack.
func deployRole(stack string) string { return "immutable-infra-deploy-" + stack }

// bound sets the permissions boundary that access creates in a copy's stack configuration. A deployment by a role
// requires it.
func (p *project) bound(t *testing.T, stack string) {
	t.Helper()
	p.replace(t, "Pulumi."+stack+".yaml", "\nconfig:\n",
		"\nconfig:\n  immutable-infra:serverBoundary: arn:aws:iam::123456789012:policy/immutable-infra-server-"+stack+"\n")
}

// requireStateIsolation requires that a stack's deploy role cannot write other stacks' state.
func requireStateIsolation(t *testing.T, checkout *project, stack, otherStack string) {
	t.Helper()
	deployment := checkout.as(t, deployRole(stack))
	for _, key := range []string{
		"stacks/immutable-infra-access/local.json", "stacks/immutable-infra/" + otherStack + ".json",
		"locks/organization/immutable-infra/" + otherStack + "/1.json",
		"stacks/immutable-infra/" + stack + "2.json", "meta.yaml",
	} {
		put := deployment.put(t, stateBucket, ".pulumi/"+key)
		require.Error(t, put.err, key)
		require.Contains(t, put.stderr, "AccessDenied", key)
	}
}

// access creates the roles of the workflows and deletes them when the test ends.
func (p *project) access(t *testing.T) {
	t.Helper()
	created := p.run(t, 10*time.Minute, "env", "PULUMI_SKIP_CONFIRMATIONS=true", "make", "access", "STACK=local")
	require.NoError(t, created.err, created.String())
	require.Contains(t, created.stdout, previewRole)
	t.Cleanup(func() {
		destroyed := p.run(t, 5*time.Minute, "pulumi", "-C", "ops/access", "destroy", "--yes", "--skip-preview",
			"--non-interactive", "--stack", "local")
		require.NoError(t, destroyed.err, destroyed.String())
	})
}

// as returns the same project with the credentials of a role.
func (p *project) as(t *testing.T, role string) *project {
	t.Helper()
	return &project{dir: p.dir, env: p.environment(t, role)}
}

// put tries to upload an object.
func (p *project) put(t *testing.T, bucket, key string) result {
	t.Helper()
	return p.runInput(t, time.Minute, "written by "+t.Name(), "env", "-u", "AWS_CA_BUNDLE", "rclone", "--retries", "1",
		"rcat", ":s3,env_auth=true,no_check_bucket=true:"+bucket+"/"+key)
}

// askS3 requests an object and returns S3's response.
func (p *project) askS3(t *testing.T, object string) string {
	t.Helper()
	// The secret is passed on standard input.
	return p.must(t, time.Minute, "bash", "-c", `printf 'user = "%s:%s"\n' "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" |
		curl -sS --cacert "$AWS_CA_BUNDLE" --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" --aws-sigv4 aws:amz:us-east-1:s3 --config - "$AWS_ENDPOINT_URL_S3/$0"`, object)
}

// previewOnly runs the steps of the preview workflow with its role, and requires that the role cannot change anything.
func previewOnly(t *testing.T, p *project) {
	checkout := p.copy(t)
	checkout.replace(t, "ops/access/Pulumi.local.yaml", "production: "+productionStack, "production: local")
	checkout.access(t)
	out := p.outputs(t)
	resources := p.resources(t)
	state := p.objects(t, stateBucket+"/.pulumi/stacks")

	comment := checkout.run(t, 5*time.Minute, "make", "-s", "preview", "STACK=local", "ROLE="+previewRole)
	require.NoError(t, comment.err, comment.String())
	require.Contains(t, comment.stdout, "### What an update of `local` would do")
	require.Regexp(t, `\d+ unchanged`, comment.stdout)
	checkout.set(t, "generation", 4711)
	comment = checkout.run(t, 5*time.Minute, "make", "-s", "preview", "STACK=local", "ROLE="+previewRole)
	require.NoError(t, comment.err, comment.String())
	require.Contains(t, comment.stdout, "aws:ec2/instance:Instance: (replace)")

	reader := checkout.as(t, previewRole)
	up := reader.pulumiUp(t, "--skip-preview")
	require.Error(t, up.err, up.String())
	require.Contains(t, up.stdout+up.stderr, "AccessDenied", "not even a lock can be written")
	for _, bucket := range []string{stateBucket, out.ContentBucket, out.BackupBucket} {
		put := reader.put(t, bucket, ".pulumi/stacks/written")
		require.Error(t, put.err)
		require.Contains(t, put.stderr, "AccessDenied", bucket)
	}
	// The backup contains private keys.
	require.Contains(t, reader.askS3(t, out.BackupBucket+"/handover/holder.json"), "<Code>AccessDenied</Code>")
	require.Contains(t, p.askS3(t, out.BackupBucket+"/handover/holder.json"), out.ServerID, "it exists")

	require.Equal(t, resources, p.resources(t))
	require.Equal(t, state, p.objects(t, stateBucket+"/.pulumi/stacks"), "the state is unchanged, byte for byte")
	unknown := checkout.run(t, time.Minute, "make", "-s", "env", "ROLE=nobody")
	require.Error(t, unknown.err)
	require.Contains(t, unknown.stderr, previewRole, "the error lists the existing roles")
}
