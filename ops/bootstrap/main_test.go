package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/ops/bootstrap/internal/awstest"
)

const (
	stateBucket     = "immutable-infra-state-123456789012-eu-central-1"
	secretsProvider = "awskms://alias/immutable-infra-production?region=eu-central-1"
	stateURL        = "s3://" + stateBucket + "?region=eu-central-1"
)

// checkout is a project's directory with a fake Pulumi on the PATH.
type checkout struct {
	t   *testing.T
	dir string
	aws *awstest.AWS
	// stacks is the file that lists the stacks of the fake Pulumi.
	stacks string
	// calls is the file that records its command lines.
	calls string
}

// newCheckout creates the stack production, with rest appended to its file.
func newCheckout(t *testing.T, rest string) *checkout {
	t.Helper()
	c := &checkout{t: t, dir: t.TempDir(), aws: awstest.Start(t)}
	c.write("Pulumi.yaml", "name: immutable-infra\nruntime: go\n")
	c.write("Pulumi.production.yaml", "config:\n  aws:region: eu-central-1\n"+rest)

	bin := t.TempDir()
	c.stacks, c.calls = filepath.Join(bin, "stacks"), filepath.Join(bin, "calls")
	c.setStacks()
	testtool.WriteProgram(t, filepath.Join(bin, "pulumi"), `#!/bin/bash
set -euo pipefail
echo "$PWD $PULUMI_BACKEND_URL $*" >>"$CALLS"
case "$1 $2" in
  "stack ls") printf '[%s]' "$(sed 's/.*/{"name": "&"}/' "$STACKS" | paste -sd,)" ;;
  "stack init") echo "$3" >>"$STACKS" ;;
esac
`)
	t.Setenv("CALLS", c.calls)
	t.Setenv("STACKS", c.stacks)
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("PULUMI_BACKEND_URL", "")
	return c
}

func (c *checkout) write(name, content string) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(filepath.Join(c.dir, name), []byte(content), 0o644))
}

// setStacks sets the stacks of the fake Pulumi.
func (c *checkout) setStacks(stacks ...string) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(c.stacks, []byte(strings.Join(append(stacks, ""), "\n")), 0o644))
}

// bootstrap runs the program and returns its output.
func (c *checkout) bootstrap(args ...string) (output string, err error) {
	c.t.Helper()
	var out bytes.Buffer
	err = run(c.t.Context(), append([]string{"--project", c.dir}, args...), &out)
	return out.String(), err
}

// pulumi returns the calls of Pulumi since pulumi was last called, each with its backend.
func (c *checkout) pulumi() []string {
	c.t.Helper()
	content, err := os.ReadFile(c.calls)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(c.t, err)
	require.NoError(c.t, os.Remove(c.calls))
	var calls []string
	for line := range strings.Lines(string(content)) {
		call, ok := strings.CutPrefix(strings.TrimSpace(line), c.dir+" ")
		require.True(c.t, ok, "pulumi ran in another directory: %s", line)
		calls = append(calls, strings.TrimSuffix(call, " --non-interactive --color never"))
	}
	return calls
}

// writes returns the requests that create or change resources.
func writes(requests []string) []string {
	var writes []string
	for _, request := range requests {
		if !strings.HasPrefix(request, "HEAD ") && request != "GetCallerIdentity" && request != "DescribeKey" {
			writes = append(writes, request)
		}
	}
	return writes
}

var puts = []string{
	"PUT " + stateBucket + "?versioning",
	"PUT " + stateBucket + "?encryption",
	"PUT " + stateBucket + "?publicAccessBlock",
	"PUT " + stateBucket + "?ownershipControls",
	"PUT " + stateBucket + "?policy",
	"PUT " + stateBucket + "?lifecycle",
}

func TestBootstrapCreatesEverythingInAnEmptyAccount(t *testing.T) {
	c := newCheckout(t, "")
	output, err := c.bootstrap("--stack", "production")
	require.NoError(t, err)

	bucket := c.aws.Bucket(stateBucket)
	require.NotNil(t, bucket)
	require.Equal(t, "eu-central-1", bucket.Region)
	require.Contains(t, bucket.Settings["versioning"], "<Status>Enabled</Status>")
	require.Contains(t, bucket.Settings["encryption"], "<SSEAlgorithm>AES256</SSEAlgorithm>")
	for _, block := range []string{"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"} {
		require.Contains(t, bucket.Settings["publicAccessBlock"], "<"+block+">true</"+block+">")
	}
	require.Contains(t, bucket.Settings["ownershipControls"], "<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>")
	require.JSONEq(t, fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{
		"Sid": "TLSOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
		"Resource": ["arn:aws:s3:::%[1]s", "arn:aws:s3:::%[1]s/*"],
		"Condition": {"Bool": {"aws:SecureTransport": "false"}}}]}`, stateBucket), bucket.Settings["policy"])
	require.Contains(t, bucket.Settings["lifecycle"], "<NoncurrentDays>365</NoncurrentDays>")
	require.NotContains(t, bucket.Settings["lifecycle"], "<Days>", "the state itself does not expire")

	key := c.aws.Key("alias/immutable-infra-production")
	require.NotNil(t, key)
	require.True(t, key.Rotated)
	require.Equal(t, map[string]string{"Name": "immutable-infra-production", "Project": "immutable-infra",
		"Stack": "production"}, key.Tags)
	require.Contains(t, key.Description, "production")

	require.Equal(t, []string{
		stateURL + " login " + stateURL,
		stateURL + " stack ls --json",
		stateURL + " stack init production --secrets-provider " + secretsProvider,
	}, c.pulumi())
	keyARN := "arn:aws:kms:eu-central-1:123456789012:key/" + key.ID
	for _, want := range []string{stateURL, secretsProvider, keyARN, "pulumi up -s production"} {
		require.Contains(t, output, want)
	}
	require.NotContains(t, output, "overrides the login")
}

func TestSecondRunCreatesNothing(t *testing.T) {
	c := newCheckout(t, "")
	_, err := c.bootstrap("--stack", "production")
	require.NoError(t, err)
	c.aws.Requests()
	c.pulumi()
	// Pulumi writes these keys.
	c.write("Pulumi.production.yaml",
		"secretsprovider: "+secretsProvider+
			"\nencryptedkey: AQICAHg=\nconfig:\n  aws:region: eu-central-1\n  immutable-infra:victorOpsKey:\n    secure: "+
			"v1:abc\n")

	output, err := c.bootstrap("--stack", "production")
	require.NoError(t, err)
	require.Equal(t, append(puts, "EnableKeyRotation"), writes(c.aws.Requests()))
	require.Len(t, c.aws.Keys(), 1)
	require.Equal(t, []string{stateURL + " login " + stateURL, stateURL + " stack ls --json"}, c.pulumi())
	require.Contains(t, output, "✓ stack production: exists\n")
}

func TestPartialBootstrapIsCompleted(t *testing.T) {
	c := newCheckout(t, "")
	c.aws.Put(stateBucket, &awstest.Bucket{Owner: awstest.Account, Region: "eu-central-1"})
	c.aws.PutKey("alias/immutable-infra-production",
		&awstest.Key{ID: "k", State: "Enabled", Usage: "ENCRYPT_DECRYPT", Spec: "SYMMETRIC_DEFAULT"})
	_, err := c.bootstrap("--stack", "production")
	require.NoError(t, err)
	require.Equal(t, append(puts, "EnableKeyRotation"), writes(c.aws.Requests()))
	require.Len(t, c.aws.Keys(), 1)
	require.True(t, c.aws.Keys()[0].Rotated)
	require.Len(t, c.pulumi(), 3)
}

func TestUSEast1IsNotSentAsALocationConstraint(t *testing.T) {
	c := newCheckout(t, "")
	_, err := c.bootstrap("--stack", "production", "--region", "us-east-1")
	require.NoError(t, err)
	bucket := c.aws.Bucket("immutable-infra-state-123456789012-us-east-1")
	require.NotNil(t, bucket)
	require.Empty(t, bucket.Region)
}

func TestBucketOfAnotherAccountIsRejected(t *testing.T) {
	c := newCheckout(t, "")
	c.aws.Put(stateBucket, &awstest.Bucket{Owner: "999999999999"})
	_, err := c.bootstrap("--stack", "production")
	require.ErrorContains(t, err, "does not belong to account 123456789012")
	require.ErrorContains(t, err, "BUCKET=")
	require.Empty(t, writes(c.aws.Requests()))
	require.Empty(t, c.pulumi())
}

func TestErrorForAnUnusableKeySaysWhatToDo(t *testing.T) {
	for state, test := range map[string]struct {
		key  awstest.Key
		want []string
	}{
		"pending deletion": {awstest.Key{State: "PendingDeletion", Usage: "ENCRYPT_DECRYPT", Spec: "SYMMETRIC_DEFAULT"},
			[]string{"1 January 2027", "aws kms cancel-key-deletion --key-id k",
				"aws kms delete-alias --alias-name alias/immutable-infra-production"}},
		"disabled": {awstest.Key{State: "Disabled", Usage: "ENCRYPT_DECRYPT", Spec: "SYMMETRIC_DEFAULT"},
			[]string{"aws kms enable-key --key-id k"}},
		"pending import": {awstest.Key{State: "PendingImport", Usage: "ENCRYPT_DECRYPT", Spec: "SYMMETRIC_DEFAULT"},
			[]string{"PendingImport"}},
		"for signing": {awstest.Key{State: "Enabled", Usage: "SIGN_VERIFY", Spec: "RSA_2048"},
			[]string{"RSA_2048", "SIGN_VERIFY"}},
	} {
		t.Run(state, func(t *testing.T) {
			c := newCheckout(t, "")
			test.key.ID = "k"
			c.aws.PutKey("alias/immutable-infra-production", &test.key)
			_, err := c.bootstrap("--stack", "production")
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.Len(t, c.aws.Keys(), 1, "another key was created")
			require.Empty(t, c.pulumi())
		})
	}
}

func TestKeyWithoutAnAliasIsReported(t *testing.T) {
	c := newCheckout(t, "")
	c.aws.NoAliases = true
	_, err := c.bootstrap("--stack", "production")
	require.ErrorContains(t, err,
		"aws kms create-alias --alias-name alias/immutable-infra-production --target-key-id "+c.aws.Keys()[0].ID)
}

func TestEncryptedValuesStayReadable(t *testing.T) {
	secret := "  immutable-infra:victorOpsKey:\n    secure: v1:abc\n  immutable-infra:list:\n    - name: a\n      key: " +
		"{secure: v1:def}\n"
	for name, test := range map[string]struct{ rest, by string }{
		"a passphrase": {secret + "encryptionsalt: v1:salt\n", "passphrase"},
		"another key": {secret + "secretsprovider: awskms://alias/other?region=eu-central-1\nencryptedkey: AQICAHg=\n",
			"awskms://alias/other?region=eu-central-1"},
		"a lost key":  {secret + "secretsprovider: " + secretsProvider + "\n", "a key that is no longer in the file"},
		"no provider": {secret, "a key that is no longer in the file"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCheckout(t, test.rest)
			_, err := c.bootstrap("--stack", "production")
			require.ErrorContains(t, err, test.by+": immutable-infra:list, immutable-infra:victorOpsKey.")
			require.ErrorContains(t, err, "pulumi config set --secret KEY -s production")
			require.Empty(t, writes(c.aws.Requests()), "something was created")
			require.Empty(t, c.pulumi())
		})
	}
	t.Run("a salt without a secret", func(t *testing.T) {
		c := newCheckout(t, "encryptionsalt: v1:salt\n")
		_, err := c.bootstrap("--stack", "production")
		require.NoError(t, err)
	})
}

func TestExistingStackKeepsItsSecretsProvider(t *testing.T) {
	for name, rest := range map[string]string{
		"a passphrase": "  immutable-infra:victorOpsKey:\n    secure: v1:abc\nencryptionsalt: v1:salt\n",
		"no provider":  "",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCheckout(t, rest)
			c.aws.Put(stateBucket, &awstest.Bucket{Owner: awstest.Account,
				Objects: map[string]string{".pulumi/stacks/immutable-infra/production.json": "{}"}})
			c.setStacks("organization/immutable-infra/production")
			output, err := c.bootstrap("--stack", "production")
			require.NoError(t, err)
			require.Contains(t, output, "pulumi stack change-secrets-provider '"+secretsProvider+"' -s production")
			require.Equal(t, []string{stateURL + " login " + stateURL, stateURL + " stack ls --json"}, c.pulumi())
		})
	}
}

func TestStackOfAnotherProjectIsIgnored(t *testing.T) {
	c := newCheckout(t, "")
	c.setStacks("organization/other/production", "organization/immutable-infra/test")
	_, err := c.bootstrap("--stack", "production")
	require.NoError(t, err)
	require.Len(t, c.pulumi(), 3)
}

func TestRehearsalSkipsUnsupportedSettings(t *testing.T) {
	c := newCheckout(t, "")
	c.write("Pulumi.local-production.yaml", "config:\n  aws:region: us-east-1\n")
	for _, service := range []string{"S3", "KMS", "STS"} {
		t.Setenv("AWS_ENDPOINT_URL_"+service, c.aws.URL)
	}
	c.aws.Unknown = []string{"encryption", "publicAccessBlock", "lifecycle"}
	c.aws.NoAccounts = true
	c.aws.Put("immutable-infra-state-123456789012-us-east-1", &awstest.Bucket{Owner: awstest.Account})
	output, err := c.bootstrap("--stack", "local-production")
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(output, "not supported by this store; make sure that"))
	require.NotNil(t, c.aws.Key("alias/immutable-infra-local-production"))
	calls := c.pulumi()
	require.Len(t, calls, 3)
	require.Contains(t, calls[0], "s3://immutable-infra-state-123456789012-us-east-1?endpoint=http%3A%2F%2F127.0.0.1")
	require.Contains(t, calls[0], "&region=us-east-1&s3ForcePathStyle=true")
	require.Contains(t, calls[2],
		"stack init local-production --secrets-provider awskms://alias/immutable-infra-local-production?region=us-east-1")
}

func TestUnsupportedSettingIsAnErrorOnAWS(t *testing.T) {
	c := newCheckout(t, "")
	c.aws.Unknown = []string{"encryption"}
	_, err := c.bootstrap("--stack", "production")
	require.ErrorContains(t, err, "encryption: ")
	require.ErrorContains(t, err, "NotImplemented")
	require.Empty(t, c.pulumi())
}

func TestS3CompatibleStoreNeedsAPassphrase(t *testing.T) {
	c := newCheckout(t, "")
	c.aws.Unknown = []string{"encryption"}
	store := httptest.NewTLSServer(c.aws)
	t.Cleanup(store.Close)
	c.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: store.Certificate().Raw})))
	t.Setenv("AWS_CA_BUNDLE", filepath.Join(c.dir, "ca.pem"))

	output, err := c.bootstrap("--stack", "production", "--endpoint", store.URL, "--bucket", "my-state")
	require.NoError(t, err)
	require.NotNil(t, c.aws.Bucket("my-state"))
	require.NotContains(t, c.aws.Requests(), "GetCallerIdentity")
	require.Empty(t, c.aws.Keys())
	require.Contains(t, output, "pulumi stack init production --secrets-provider passphrase")
	require.Contains(t, output, "encryption: not supported by this store")
	calls := c.pulumi()
	require.Len(t, calls, 2, "the stack was created without its passphrase")
	require.Contains(t, calls[0], "login s3://my-state?endpoint=https%3A%2F%2F127.0.0.1")

	_, err = c.bootstrap("--stack", "production", "--endpoint", store.URL)
	require.ErrorContains(t, err, "BUCKET is not set")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err = c.bootstrap("--stack", "production", "--endpoint", store.URL, "--bucket", "my-state")
	require.ErrorContains(t, err, "no credentials for "+store.URL)
}

func TestMissingCredentialsErrorSaysHowToLogIn(t *testing.T) {
	c := newCheckout(t, "")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := c.bootstrap("--stack", "production")
	require.ErrorContains(t, err, "aws sso login")
	require.Empty(t, c.aws.Requests())
}

func TestMissingPulumiErrorSaysHowToInstallIt(t *testing.T) {
	c := newCheckout(t, "")
	t.Setenv("PATH", c.dir)
	_, err := c.bootstrap("--stack", "production")
	require.ErrorContains(t, err, "https://www.pulumi.com/docs/install/")
}

func TestInvalidArgumentsAreRejectedBeforeAnyRequest(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"no stack":     {nil, []string{"make bootstrap STACK=production"}},
		"invalid name": {[]string{"--stack", "a/b"}, []string{"STACK=a/b is not a valid name"}},
		"no region": {[]string{"--stack", "test"},
			[]string{"set aws:region in Pulumi.test.yaml", "REGION=eu-central-1"}},
		"several problems": {[]string{"--stack", "production", "--region", "europe", "--bucket", "My_Bucket"},
			[]string{"REGION=europe", "BUCKET=My_Bucket"}},
		"plain HTTP": {[]string{"--stack", "production", "--endpoint", "http://s3.example.net", "--bucket", "b-1"},
			[]string{"https://s3.example.net"}},
		"a rehearsal on AWS":     {[]string{"--stack", "local-test", "--region", "us-east-1"}, []string{`eval "$(make -s env)"`}},
		"the local stack on AWS": {[]string{"--stack", "local", "--region", "us-east-1"}, []string{`eval "$(make -s env)"`}},
		"extra argument":         {[]string{"--stack", "production", "test"}, []string{"unexpected argument test"}},
		"unknown options":        {[]string{"--zone", "a"}, []string{"zone"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCheckout(t, "")
			_, err := c.bootstrap(test.args...)
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
			require.Empty(t, c.aws.Requests())
		})
	}
	t.Run("production in the local cloud", func(t *testing.T) {
		c := newCheckout(t, "")
		t.Setenv("AWS_ENDPOINT_URL_KMS", c.aws.URL)
		_, err := c.bootstrap("--stack", "production")
		require.ErrorContains(t, err, "use another shell")
		require.Empty(t, c.aws.Requests())
	})
}

func TestVariableThatOverridesTheLoginIsReported(t *testing.T) {
	c := newCheckout(t, "")
	t.Setenv("PULUMI_BACKEND_URL", "https://api.pulumi.com")
	output, err := c.bootstrap("--stack", "production")
	require.NoError(t, err)
	require.Contains(t, output, "PULUMI_BACKEND_URL is https://api.pulumi.com in this shell, which overrides the login")
	require.Len(t, c.pulumi(), 3, "pulumi still created the stack in the bucket")
}
