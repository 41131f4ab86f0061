package awsapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// harness runs the services behind a test server and provides AWS SDK clients for them.
type harness struct {
	t     *testing.T
	file  string
	http  *httptest.Server
	roles map[string]*store.Role
	now   time.Time
}

func root() store.Account {
	return store.Account{AccessKeyID: "AKIAROOT", SecretAccessKey: "root's"}
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, file: filepath.Join(t.TempDir(), "keys.json"), roles: map[string]*store.Role{},
		now: time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)}
	h.start()
	return h
}

// start starts the services. A second call restarts them with the saved keys.
func (h *harness) start() {
	h.t.Helper()
	server, err := New(Settings{
		Region: "us-east-1", Root: root(), KeyFile: h.file, Now: func() time.Time { return h.now },
		State: func() (*store.State, error) { return &store.State{Roles: h.roles}, nil },
	})
	require.NoError(h.t, err)
	h.http = httptest.NewTLSServer(server)
	h.t.Cleanup(h.http.Close)
}

// role creates a role with one policy and returns its access key.
func (h *harness) role(name, statements string) store.Account {
	account := store.Account{AccessKeyID: "AKIA" + strings.ToUpper(name), SecretAccessKey: name + "'s"}
	h.roles[name] = &store.Role{
		Shown:    store.Record{"name": name, "arn": "arn:aws:iam::123456789012:role/" + name, "uniqueId": "AROA" + name},
		Policies: store.Table{"may": {"policy": `{"Version":"2012-10-17","Statement":` + statements + `}`}},
		Account:  &account,
	}
	return account
}

func (h *harness) kms(account store.Account) *kms.Client {
	return kms.New(kms.Options{
		BaseEndpoint: aws.String(h.http.URL), Region: "us-east-1", HTTPClient: h.http.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
	})
}

func (h *harness) sts(account store.Account) *sts.Client {
	return sts.New(sts.Options{
		BaseEndpoint: aws.String(h.http.URL), Region: "us-east-1", HTTPClient: h.http.Client(), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(account.AccessKeyID, account.SecretAccessKey, ""),
	})
}

// createStackKey creates a key with an alias, as the bootstrap of a stack does.
func (h *harness) createStackKey(aliasName string) *types.KeyMetadata {
	h.t.Helper()
	c := h.kms(root())
	created, err := c.CreateKey(h.t.Context(), &kms.CreateKeyInput{
		Description: aws.String("Secrets of a stack"),
		Tags:        []types.Tag{{TagKey: aws.String("Stack"), TagValue: aws.String("test")}},
	})
	require.NoError(h.t, err)
	_, err = c.CreateAlias(h.t.Context(),
		&kms.CreateAliasInput{AliasName: &aliasName, TargetKeyId: created.KeyMetadata.KeyId})
	require.NoError(h.t, err)
	return created.KeyMetadata
}

// requireErrorCode requires err to be an API error with the given code.
func requireErrorCode(t *testing.T, code string, err error) {
	t.Helper()
	var apiErr smithy.APIError
	require.ErrorAs(t, err, &apiErr)
	require.Equal(t, code, apiErr.ErrorCode(), err)
}

func TestSecretsDecryptAfterRotationAndRestart(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.createStackKey("alias/immutable-infra-test")
	alias := aws.String("alias/immutable-infra-test")
	c := h.kms(root())
	first, err := c.Encrypt(ctx, &kms.EncryptInput{
		KeyId: alias, Plaintext: []byte("data key"), EncryptionContext: map[string]string{"stack": "test", "a": "b"},
	})
	require.NoError(t, err)
	require.Equal(t, *key.Arn, *first.KeyId)
	require.NotContains(t, string(first.CiphertextBlob), "data key")
	again, err := c.Encrypt(ctx, &kms.EncryptInput{
		KeyId: alias, Plaintext: []byte("data key"), EncryptionContext: map[string]string{"stack": "test", "a": "b"},
	})
	require.NoError(t, err)
	require.NotEqual(t, first.CiphertextBlob, again.CiphertextBlob)

	_, err = c.RotateKeyOnDemand(ctx, &kms.RotateKeyOnDemandInput{KeyId: key.KeyId})
	require.NoError(t, err)
	second, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.Arn, Plaintext: []byte("data key")})
	require.NoError(t, err)
	h.start()
	c = h.kms(root())
	decrypted, err := c.Decrypt(ctx, &kms.DecryptInput{
		CiphertextBlob: first.CiphertextBlob, EncryptionContext: map[string]string{"a": "b", "stack": "test"},
	})
	require.NoError(t, err)
	require.Equal(t, "data key", string(decrypted.Plaintext))
	require.Equal(t, *key.Arn, *decrypted.KeyId)
	decrypted, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: second.CiphertextBlob, KeyId: alias})
	require.NoError(t, err)
	require.Equal(t, "data key", string(decrypted.Plaintext))

	_, err = c.Decrypt(ctx,
		&kms.DecryptInput{CiphertextBlob: first.CiphertextBlob, EncryptionContext: map[string]string{"stack": "production"}})
	requireErrorCode(t, "InvalidCiphertextException", err)
	corrupted := bytes.Clone(second.CiphertextBlob)
	corrupted[len(corrupted)-1] ^= 1
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: corrupted})
	requireErrorCode(t, "InvalidCiphertextException", err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("no blob of KMS")})
	requireErrorCode(t, "InvalidCiphertextException", err)
	other := h.createStackKey("alias/other")
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: second.CiphertextBlob, KeyId: other.KeyId})
	requireErrorCode(t, "IncorrectKeyException", err)

	info, err := os.Stat(h.file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestKeyDescriptionMatchesKMS(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.createStackKey("alias/one")
	c := h.kms(root())
	described, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
	require.NoError(t, err)
	require.Equal(t, key, described.KeyMetadata)
	require.Equal(t, "arn:aws:kms:us-east-1:123456789012:key/"+*key.KeyId, *key.Arn)
	require.Equal(t, types.KeyStateEnabled, key.KeyState)
	require.True(t, h.now.Equal(*key.CreationDate))

	status, err := c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: key.KeyId})
	require.NoError(t, err)
	require.False(t, status.KeyRotationEnabled)
	_, err = c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: key.KeyId})
	require.NoError(t, err)
	status, err = c.GetKeyRotationStatus(ctx, &kms.GetKeyRotationStatusInput{KeyId: key.KeyId})
	require.NoError(t, err)
	require.True(t, status.KeyRotationEnabled)
	require.Equal(t, int32(365), *status.RotationPeriodInDays)

	other := h.createStackKey("alias/two")
	_, err = c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/one")})
	require.NoError(t, err)
	_, err = c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/one"), TargetKeyId: other.KeyId})
	require.NoError(t, err)
	for _, alias := range []string{"alias/one", "arn:aws:kms:us-east-1:123456789012:alias/one", "alias/two"} {
		described, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &alias})
		require.NoError(t, err)
		require.Equal(t, other, described.KeyMetadata, alias)
	}
}

func TestKeyPendingDeletionIsUnusableUntilCanceled(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.createStackKey("alias/one")
	c := h.kms(root())
	encrypted, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("secret")})
	require.NoError(t, err)
	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(3)})
	requireErrorCode(t, "ValidationException", err)
	scheduled, err := c.ScheduleKeyDeletion(ctx,
		&kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(7)})
	require.NoError(t, err)
	require.True(t, h.now.AddDate(0, 0, 7).Equal(*scheduled.DeletionDate))
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob})
	requireErrorCode(t, "KMSInvalidStateException", err)
	_, err = c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/another"), TargetKeyId: key.KeyId})
	requireErrorCode(t, "KMSInvalidStateException", err)
	described, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyId})
	require.NoError(t, err)
	require.Equal(t, types.KeyStatePendingDeletion, described.KeyMetadata.KeyState)

	_, err = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: key.KeyId})
	require.NoError(t, err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob})
	requireErrorCode(t, "DisabledException", err)
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: key.KeyId})
	require.NoError(t, err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob})
	require.NoError(t, err)

	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId})
	require.NoError(t, err)
	h.now = h.now.AddDate(0, 0, 30)
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyId})
	requireErrorCode(t, "NotFoundException", err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypted.CiphertextBlob})
	requireErrorCode(t, "AccessDeniedException", err)
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
	requireErrorCode(t, "NotFoundException", err)
}

func TestInvalidRequestsReturnAWSErrors(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.createStackKey("alias/one")
	c := h.kms(root())
	for name, test := range map[string]struct {
		code string
		do   func() error
	}{
		"unknown key": {"NotFoundException", func() error {
			_, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("00000000-0000-4000-8000-000000000000")})
			return err
		}},
		"unknown alias": {"NotFoundException", func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/none"), Plaintext: []byte("x")})
			return err
		}},
		"alias where a key ID is required": {"NotFoundException", func() error {
			_, err := c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: aws.String("alias/one")})
			return err
		}},
		"duplicate alias": {"AlreadyExistsException", func() error {
			_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/one"), TargetKeyId: key.KeyId})
			return err
		}},
		"reserved AWS alias": {"InvalidAliasNameException", func() error {
			_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/aws/ebs"), TargetKeyId: key.KeyId})
			return err
		}},
		"delete unknown alias": {"NotFoundException", func() error {
			_, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/none")})
			return err
		}},
		"plaintext too long": {"ValidationException", func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: make([]byte, 4097)})
			return err
		}},
		"asymmetric algorithm": {"InvalidKeyUsageException", func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{
				KeyId: key.KeyId, Plaintext: []byte("x"), EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256,
			})
			return err
		}},
		"asymmetric key": {"UnsupportedOperationException", func() error {
			_, err := c.CreateKey(ctx,
				&kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
			return err
		}},
		"key policy, which is not implemented": {"ValidationException", func() error {
			_, err := c.CreateKey(ctx, &kms.CreateKeyInput{Policy: aws.String("{}")})
			return err
		}},
		"unsupported KMS operation": {"UnknownOperationException", func() error {
			_, err := c.ListGrants(ctx, &kms.ListGrantsInput{KeyId: key.KeyId})
			return err
		}},
		"unsupported STS operation": {"InvalidAction", func() error {
			_, err := h.sts(root()).AssumeRole(ctx,
				&sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/r"), RoleSessionName: aws.String("s")})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) { requireErrorCode(t, test.code, test.do()) })
	}
}

func TestRolePoliciesControlKeyAccess(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	test, production := h.createStackKey("alias/test"), h.createStackKey("alias/production")
	reader := h.kms(h.role("preview",
		`[{"Effect":"Allow","Action":["kms:Decrypt","kms:DescribeKey"],"Resource":"`+*test.Arn+`"}]`))
	encrypt := func(key *types.KeyMetadata) []byte {
		encrypted, err := h.kms(root()).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("secret")})
		require.NoError(t, err)
		return encrypted.CiphertextBlob
	}
	decrypted, err := reader.Decrypt(ctx,
		&kms.DecryptInput{CiphertextBlob: encrypt(test), KeyId: aws.String("alias/test")})
	require.NoError(t, err)
	require.Equal(t, "secret", string(decrypted.Plaintext))
	_, err = reader.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypt(production)})
	requireErrorCode(t, "AccessDeniedException", err)
	require.ErrorContains(t, err,
		"User: arn:aws:sts::123456789012:assumed-role/preview/localcloud is not authorized to perform: "+
			"kms:Decrypt on resource: "+*production.Arn+" because no identity-based policy allows the kms:Decrypt action")
	_, err = reader.Encrypt(ctx, &kms.EncryptInput{KeyId: test.KeyId, Plaintext: []byte("x")})
	requireErrorCode(t, "AccessDeniedException", err)
	_, err = reader.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: test.KeyId})
	requireErrorCode(t, "AccessDeniedException", err)
	_, err = reader.CreateKey(ctx, &kms.CreateKeyInput{})
	requireErrorCode(t, "AccessDeniedException", err)

	namer := h.kms(h.role("namer",
		`[{"Effect":"Allow","Action":"kms:*","Resource":["`+*test.Arn+`","arn:aws:kms:*:*:alias/test-*"]}]`))
	createAlias := func(aliasName string, key *types.KeyMetadata) error {
		_, err := namer.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &aliasName, TargetKeyId: key.KeyId})
		return err
	}
	require.NoError(t, createAlias("alias/test-2", test))
	require.ErrorContains(t, createAlias("alias/other", test),
		"kms:CreateAlias on resource: arn:aws:kms:us-east-1:123456789012:alias/other")
	require.ErrorContains(t, createAlias("alias/test-3", production), "kms:CreateAlias on resource: "+*production.Arn)
	_, err = namer.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/production")})
	requireErrorCode(t, "AccessDeniedException", err)
	_, err = h.kms(root()).CreateAlias(ctx,
		&kms.CreateAliasInput{AliasName: aws.String("alias/test-3"), TargetKeyId: production.KeyId})
	require.NoError(t, err)
	_, err = namer.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/test-3")})
	requireErrorCode(t, "AccessDeniedException", err)

	tagged := h.kms(h.role("tagged", `[
		{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*",
			"Condition":{"StringEquals":{"aws:ResourceTag/Stack":"test"}}},
		{"Effect":"Allow","Action":["kms:CreateKey","kms:TagResource"],"Resource":"*"},
		{"Effect":"Deny","Action":"kms:TagResource","Resource":"*",
			"Condition":{"StringEquals":{"aws:RequestTag/Stack":"production"}}}]`))
	_, err = tagged.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypt(test)})
	require.NoError(t, err)
	stack := func(name string) *kms.CreateKeyInput {
		return &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("Stack"), TagValue: &name}}}
	}
	_, err = tagged.CreateKey(ctx, stack("production"))
	requireErrorCode(t, "AccessDeniedException", err)
	require.ErrorContains(t, err, "with an explicit deny")
	drill, err := tagged.CreateKey(ctx, stack("drill"))
	require.NoError(t, err)
	_, err = tagged.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: encrypt(drill.KeyMetadata)})
	requireErrorCode(t, "AccessDeniedException", err)
}

func TestCallerIsIdentifiedBySignature(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	identity, err := h.sts(root()).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	require.Equal(t, "123456789012", *identity.Account)
	require.Equal(t, "arn:aws:iam::123456789012:user/localcloud", *identity.Arn)
	identity, err = h.sts(h.role("preview", `{"Effect":"Deny","Action":"*","Resource":"*"}`)).GetCallerIdentity(ctx,
		&sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:sts::123456789012:assumed-role/preview/localcloud", *identity.Arn)
	require.Equal(t, "AROApreview:localcloud", *identity.UserId)

	for code, account := range map[string]store.Account{
		"InvalidClientTokenId":  {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "root's"},
		"SignatureDoesNotMatch": {AccessKeyID: root().AccessKeyID, SecretAccessKey: "another"},
	} {
		_, err := h.sts(account).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		requireErrorCode(t, code, err)
	}
	for code, account := range map[string]store.Account{
		"UnrecognizedClientException": {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "root's"},
		"InvalidSignatureException":   {AccessKeyID: root().AccessKeyID, SecretAccessKey: "another"},
	} {
		_, err := h.kms(account).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
		requireErrorCode(t, code, err)
	}
	response, err := h.http.Client().Post(h.http.URL, "application/x-www-form-urlencoded",
		strings.NewReader("Action=GetCallerIdentity&Version=2011-06-15"))
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, response.StatusCode)
	require.Contains(t, string(text), "<Code>MissingAuthenticationToken</Code>")
}

// tamperingTransport changes the body of a request after it has been signed.
type tamperingTransport struct{ next http.RoundTripper }

func (t tamperingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, errors.Join(err, r.Body.Close())
	}
	changed := r.Clone(r.Context())
	changed.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("one"), []byte("two"), 1)))
	return t.next.RoundTrip(changed)
}

func TestTamperedRequestIsRejected(t *testing.T) {
	h := newHarness(t)
	h.createStackKey("alias/one")
	h.createStackKey("alias/two")
	c := kms.New(kms.Options{
		BaseEndpoint: aws.String(h.http.URL), Region: "us-east-1", RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: tamperingTransport{h.http.Client().Transport}},
		Credentials: credentials.NewStaticCredentialsProvider(root().AccessKeyID, root().SecretAccessKey, ""),
	})
	_, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
	requireErrorCode(t, "InvalidSignatureException", err)
}
