package awsplugin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/s3server"
)

// startVersitygw starts a real S3 server with TLS on a loopback port.
func startVersitygw(t *testing.T) cloud.S3 {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := testtool.Certificate(t, dir)
	for _, name := range []string{"data", "versions", "iam"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
	}
	settings := cloud.S3{
		Region: "us-east-1", CAFile: certFile, AccessKeyID: "AKIAROOT", SecretAccessKey: "root-secret-key",
	}
	settings.Endpoint = "https://" + testtool.S3{
		Region: settings.Region, AccessKey: settings.AccessKeyID, SecretKey: settings.SecretAccessKey,
		Flags:      []string{"--cert", certFile, "--key", keyFile, "--iam-dir", filepath.Join(dir, "iam")},
		PosixFlags: []string{"--versioning-dir", filepath.Join(dir, "versions")},
	}.Start(t, filepath.Join(dir, "data"))
	return settings
}

// client returns an S3 client with an instance's settings.
func client(t *testing.T, settings cloud.S3, provider aws.CredentialsProvider) *s3.Client {
	t.Helper()
	pemText, err := os.ReadFile(settings.CAFile)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pemText))
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(settings.Endpoint), Region: settings.Region, UsePathStyle: true, Credentials: provider,
		HTTPClient: &http.Client{
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		},
	})
}

func code(err error) string {
	var apiErr smithy.APIError
	if errors.As(err, &apiErr) {
		return apiErr.ErrorCode()
	}
	return ""
}

func put(ctx context.Context, c *s3.Client, bucket, key, body string) error {
	_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(body)})
	return err
}

func get(ctx context.Context, c *s3.Client, bucket, key string) (string, error) {
	object, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	defer object.Body.Close()
	body, err := io.ReadAll(object.Body)
	return string(body), err
}

func TestServerRoleGetsExactlyItsPolicyGrantsOnRealS3Server(t *testing.T) {
	settings := startVersitygw(t)
	server, err := s3server.New(settings)
	require.NoError(t, err)
	s := &site{harness: newHarness(t)}
	s.plugin.openObjects = func() (objectStore, error) { return server, nil }
	s.createNetwork()

	for name, denied := range map[string]string{"site-content": denyInsecure,
		"site-backup": strings.ReplaceAll(denyInsecure, "site-content", "site-backup")} {
		b := s.create("aws:s3/bucketV2:BucketV2", name, object{"bucket": name, "forceDestroy": true})
		s.create("aws:s3/bucketVersioningV2:BucketVersioningV2", name,
			object{"bucket": b.id, "versioningConfiguration": object{"status": "Enabled"}})
		s.create("aws:s3/bucketOwnershipControls:BucketOwnershipControls", name,
			object{"bucket": b.id, "rule": object{"objectOwnership": "BucketOwnerEnforced"}})
		s.create("aws:s3/bucketPolicy:BucketPolicy", name, object{"bucket": b.id, "policy": denied})
	}
	s.role = s.create("aws:iam/role:Role", "server", object{"assumeRolePolicy": trustEC2})
	s.profile = s.create("aws:iam/instanceProfile:InstanceProfile", "server", object{"role": s.role.id})
	grants := s.create("aws:iam/rolePolicy:RolePolicy", "server", object{"role": s.role.id, "policy": object{
		"Version": "2012-10-17",
		"Statement": []object{
			{"Effect": "Allow", "Action": "s3:GetObject",
				"Resource": []string{"arn:aws:s3:::site-content/*", "arn:aws:s3:::site-backup/*"}},
			{"Effect": "Allow", "Action": []string{"s3:PutObject", "s3:DeleteObject"}, "Resource": "arn:aws:s3:::site-backup/*"},
			{"Effect": "Allow", "Action": "s3:ListBucket",
				"Resource": []string{"arn:aws:s3:::site-content", "arn:aws:s3:::site-backup"}},
		},
	}})
	group := s.create("aws:ec2/securityGroup:SecurityGroup", "server", object{"vpcId": s.vpc.id})
	instance := s.create("aws:ec2/instance:Instance", "server", object{
		"ami": testAMI, "instanceType": "t3.small", "subnetId": s.subnet.id, "iamInstanceProfile": s.profile.id,
		"vpcSecurityGroupIds": []string{group.id},
	})

	ctx := t.Context()
	root := client(t, settings,
		credentials.NewStaticCredentialsProvider(settings.AccessKeyID, settings.SecretAccessKey, ""))
	require.NoError(t, put(ctx, root, "site-content", "index.html", "front page"))
	account := s.cloud.networkInterface(t, instance.id).Metadata.Role
	require.NotNil(t, account)
	role := client(t, settings, credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""))

	body, err := get(ctx, role, "site-content", "index.html")
	require.NoError(t, err)
	require.Equal(t, "front page", body)
	require.Equal(t, "AccessDenied", code(put(ctx, role, "site-content", "index.html", "defaced")),
		"the content bucket is read-only")
	_, err = get(ctx, role, "site-content", "missing.html")
	require.Equal(t, "NoSuchKey", code(err), "a missing object is distinguished from a denied one")
	_, err = role.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("site-content")})
	require.NoError(t, err)

	require.NoError(t, put(ctx, role, "site-backup", "acme.json", "one"))
	require.NoError(t, put(ctx, role, "site-backup", "acme.json", "two"))
	body, err = get(ctx, role, "site-backup", "acme.json")
	require.NoError(t, err)
	require.Equal(t, "two", body)
	versions, err := root.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("site-backup")})
	require.NoError(t, err)
	require.Len(t, versions.Versions, 2, "the overwritten backup is kept")
	_, err = role.DeleteObject(ctx, &s3.DeleteObjectInput{
		Bucket: aws.String("site-backup"), Key: aws.String("acme.json"), VersionId: versions.Versions[1].VersionId,
	})
	require.Equal(t, "AccessDenied", code(err), "the server cannot delete a version")
	_, err = role.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: aws.String("site-backup"), Key: aws.String("acme.json")})
	require.NoError(t, err)
	versions, err = root.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("site-backup")})
	require.NoError(t, err)
	require.Len(t, versions.Versions, 2)
	require.Len(t, versions.DeleteMarkers, 1)

	anonymous := client(t, settings, aws.AnonymousCredentials{})
	_, err = get(ctx, anonymous, "site-content", "index.html")
	require.Equal(t, "AccessDenied", code(err), "the content bucket is private")
	_, err = anonymous.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("site-content")})
	require.Equal(t, "AccessDenied", code(err))

	withToken := client(t, settings,
		credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, "token"))
	_, err = get(ctx, withToken, "site-content", "index.html")
	require.Equal(t, "InvalidToken", code(err), "the metadata service must therefore return an empty session token")

	require.NoError(t, s.delete(grants))
	_, err = get(ctx, role, "site-content", "index.html")
	require.Equal(t, "AccessDenied", code(err), "nothing is granted without the policy")
}

func TestDeletingVersionedBucketNeedsForceDestroyOnRealS3Server(t *testing.T) {
	settings := startVersitygw(t)
	server, err := s3server.New(settings)
	require.NoError(t, err)
	h := newHarness(t)
	h.plugin.openObjects = func() (objectStore, error) { return server, nil }
	b := h.create("aws:s3/bucketV2:BucketV2", "backup", object{"bucket": "site-backup"})
	h.create("aws:s3/bucketVersioningV2:BucketVersioningV2", "backup",
		object{"bucket": b.id, "versioningConfiguration": object{"status": "Enabled"}})
	_, err = h.tryCreate("aws:s3/bucketV2:BucketV2", "again", object{"bucket": "site-backup"})
	require.ErrorContains(t, err, "BucketAlreadyOwnedByYou")

	ctx := t.Context()
	root := client(t, settings,
		credentials.NewStaticCredentialsProvider(settings.AccessKeyID, settings.SecretAccessKey, ""))
	require.NoError(t, put(ctx, root, b.id, "acme.json", "one"))
	require.ErrorContains(t, h.delete(b), "BucketNotEmpty")
	_, err = root.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.id, Key: aws.String("acme.json")})
	require.NoError(t, err)
	require.ErrorContains(t, h.delete(b), "BucketNotEmpty", "a bucket with old versions is not empty")

	h.update(b, object{"bucket": "site-backup", "forceDestroy": true})
	require.NoError(t, h.delete(b))
	require.False(t, h.refresh(b))
}

func TestRoleCanAccessUnmanagedStateBucketOnRealS3Server(t *testing.T) {
	settings := startVersitygw(t)
	server, err := s3server.New(settings)
	require.NoError(t, err)
	h := newHarness(t)
	h.plugin.openObjects = func() (objectStore, error) { return server, nil }
	ctx := t.Context()
	root := client(t, settings,
		credentials.NewStaticCredentialsProvider(settings.AccessKeyID, settings.SecretAccessKey, ""))
	createBucket := func(name string) {
		_, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name})
		require.NoError(t, err)
		require.NoError(t, put(ctx, root, name, ".pulumi/meta.yaml", "version: 1"))
	}
	createBucket("state")
	_, err = root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{
		Bucket: aws.String("state"), Policy: aws.String(strings.ReplaceAll(denyInsecure, "site-content", "state")),
	})
	require.NoError(t, err)
	h.grant("preview", `[
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::*",
			"Condition":{"StringLike":{"s3:prefix":".pulumi/*"},"StringEquals":{"aws:RequestedRegion":"us-east-1"}}},
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::*/.pulumi/*"},
		{"Effect":"Deny","NotAction":["s3:Get*","s3:List*","ec2:Describe*"],"Resource":"*"}]`)
	as := func() *s3.Client {
		account, err := h.plugin.roleAccount(ctx, "preview")
		require.NoError(t, err)
		return client(t, settings, credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""))
	}
	role := as()
	body, err := get(ctx, role, "state", ".pulumi/meta.yaml")
	require.NoError(t, err)
	require.Equal(t, "version: 1", body)
	_, err = role.ListObjectsV2(ctx,
		&s3.ListObjectsV2Input{Bucket: aws.String("state"), Prefix: aws.String(".pulumi/stacks/")})
	require.NoError(t, err)
	_, err = role.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("state")})
	require.Equal(t, "AccessDenied", code(err))
	require.Equal(t, "AccessDenied", code(put(ctx, role, "state", ".pulumi/meta.yaml", "version: 2")), "denials win")

	createBucket("late")
	_, err = get(ctx, role, "late", ".pulumi/meta.yaml")
	require.Equal(t, "AccessDenied", code(err))
	body, err = get(ctx, as(), "late", ".pulumi/meta.yaml")
	require.NoError(t, err)
	require.Equal(t, "version: 1", body)
	policies, err := root.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: aws.String("state")})
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(*policies.Policy, "DenyInsecureTransport"))
	require.Equal(t, 1, strings.Count(*policies.Policy, "LocalcloudRole1"), "a second request adds no statement")
}

func TestDeployRoleIsLimitedToItsStateAndServerToItsBoundaryOnRealS3Server(t *testing.T) {
	settings := startVersitygw(t)
	server, err := s3server.New(settings)
	require.NoError(t, err)
	h := newHarness(t)
	h.plugin.openObjects = func() (objectStore, error) { return server, nil }
	ctx := t.Context()
	root := client(t, settings,
		credentials.NewStaticCredentialsProvider(settings.AccessKeyID, settings.SecretAccessKey, ""))
	as := func(role string) *s3.Client {
		account, err := h.plugin.roleAccount(ctx, role)
		require.NoError(t, err)
		return client(t, settings, credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""))
	}
	state := "immutable-infra-state-123456789012-us-east-1"
	for _, bucket := range []string{state, "payroll"} {
		_, err := root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket})
		require.NoError(t, err)
	}
	for _, stack := range []string{"test", "production"} {
		h.create("aws:s3/bucketV2:BucketV2", stack, object{"bucket": stack + "-backup-1"})
		h.create("aws:s3/bucketVersioningV2:BucketVersioningV2", stack,
			object{"bucket": stack + "-backup-1", "versioningConfiguration": object{"status": "Enabled"}})
		boundary := h.create("aws:iam/policy:Policy", stack,
			object{"name": "immutable-infra-server-" + stack, "policy": reviewedPolicy(t, "server-"+stack)})
		for name, inputs := range map[string]object{
			"deploy-" + stack: {},
			"server-" + stack: {"permissionsBoundary": boundary.id},
		} {
			inputs["name"], inputs["assumeRolePolicy"] = name, trustEC2
			h.create("aws:iam/role:Role", name, inputs)
		}
		h.create("aws:iam/rolePolicy:RolePolicy", "deploy-"+stack,
			object{"name": "deploy", "role": "deploy-" + stack, "policy": reviewedPolicy(t, "deploy-"+stack)})
		h.create("aws:iam/rolePolicy:RolePolicy", "server-"+stack, object{"name": "all", "role": "server-" + stack,
			"policy": `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`})
	}

	deploy := as("deploy-test")
	for key, allowed := range map[string]bool{
		"stacks/immutable-infra/test.json": true, "history/immutable-infra/test/test-1.history.json": true,
		"backups/immutable-infra/test/test.1.json": true, "locks/organization/immutable-infra/test/1.json": true,
		"stacks/immutable-infra/production.json": false, "stacks/immutable-infra-access/access.json": false,
		"stacks/immutable-infra/test2.json":                            false,
		"locks/organization/immutable-infra/production/1.json":         false,
		"history/immutable-infra/production/production-1.history.json": false, "meta.yaml": false,
	} {
		err := put(ctx, deploy, state, ".pulumi/"+key, "{}")
		if allowed {
			require.NoError(t, err, key)
			continue
		}
		require.Equal(t, "AccessDenied", code(err), key)
	}
	require.Equal(t, "AccessDenied", code(put(ctx, as("deploy-production"), "production-backup-1", "planted", "")))

	web := as("server-production")
	require.NoError(t, put(ctx, web, "production-backup-1", "history/1", "one"))
	body, err := get(ctx, web, "production-backup-1", "history/1")
	require.NoError(t, err)
	require.Equal(t, "one", body)
	versions, err := root.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("production-backup-1")})
	require.NoError(t, err)
	_, err = web.DeleteObject(ctx, &s3.DeleteObjectInput{
		Bucket: aws.String("production-backup-1"), Key: aws.String("history/1"), VersionId: versions.Versions[0].VersionId,
	})
	require.Equal(t, "AccessDenied", code(err), "the policy allows the action, the boundary does not")
	require.Equal(t, "AccessDenied", code(put(ctx, web, "payroll", "2026.csv", "")))
	require.Equal(t, "AccessDenied", code(put(ctx, web, state, ".pulumi/stacks/immutable-infra-access/access.json", "{}")))
	_, err = get(ctx, as("server-test"), "production-backup-1", "history/1")
	require.Equal(t, "AccessDenied", code(err))
}
