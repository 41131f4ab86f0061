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

// harness is the services at an address of their own, with the clients of AWS's SDK.
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

// start starts the services, and restarts those that ran.
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

// role makes a role with one policy, and returns its access key.
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

// stackKey makes a key with an alias, as the bootstrap of a stack does.
func (h *harness) stackKey(aliasName string) *types.KeyMetadata {
	h.t.Helper()
	c := h.kms(root())
	made, err := c.CreateKey(h.t.Context(), &kms.CreateKeyInput{
		Description: aws.String("Secrets of a stack"),
		Tags:        []types.Tag{{TagKey: aws.String("Stack"), TagValue: aws.String("test")}},
	})
	require.NoError(h.t, err)
	_, err = c.CreateAlias(h.t.Context(),
		&kms.CreateAliasInput{AliasName: &aliasName, TargetKeyId: made.KeyMetadata.KeyId})
	require.NoError(h.t, err)
	return made.KeyMetadata
}

// refused is an error of the API with that code.
func refused(t *testing.T, code string, err error) {
	t.Helper()
	var answer smithy.APIError
	require.ErrorAs(t, err, &answer)
	require.Equal(t, code, answer.ErrorCode(), err)
}

func TestASecretIsReadAgainAfterARotationAndARestart(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.stackKey("alias/immutable-infra-test")
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
	opened, err := c.Decrypt(ctx, &kms.DecryptInput{
		CiphertextBlob: first.CiphertextBlob, EncryptionContext: map[string]string{"a": "b", "stack": "test"},
	})
	require.NoError(t, err)
	require.Equal(t, "data key", string(opened.Plaintext))
	require.Equal(t, *key.Arn, *opened.KeyId)
	opened, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: second.CiphertextBlob, KeyId: alias})
	require.NoError(t, err)
	require.Equal(t, "data key", string(opened.Plaintext))

	_, err = c.Decrypt(ctx,
		&kms.DecryptInput{CiphertextBlob: first.CiphertextBlob, EncryptionContext: map[string]string{"stack": "production"}})
	refused(t, "InvalidCiphertextException", err)
	spoilt := bytes.Clone(second.CiphertextBlob)
	spoilt[len(spoilt)-1] ^= 1
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: spoilt})
	refused(t, "InvalidCiphertextException", err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: []byte("no blob of KMS")})
	refused(t, "InvalidCiphertextException", err)
	other := h.stackKey("alias/other")
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: second.CiphertextBlob, KeyId: other.KeyId})
	refused(t, "IncorrectKeyException", err)

	info, err := os.Stat(h.file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestAKeyIsDescribedAsKMSDoes(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.stackKey("alias/one")
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

	other := h.stackKey("alias/two")
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

func TestAKeyThatIsPendingDeletionIsOfNoUseUntilThatIsCancelled(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.stackKey("alias/one")
	c := h.kms(root())
	sealed, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("secret")})
	require.NoError(t, err)
	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(3)})
	refused(t, "ValidationException", err)
	scheduled, err := c.ScheduleKeyDeletion(ctx,
		&kms.ScheduleKeyDeletionInput{KeyId: key.KeyId, PendingWindowInDays: aws.Int32(7)})
	require.NoError(t, err)
	require.True(t, h.now.AddDate(0, 0, 7).Equal(*scheduled.DeletionDate))
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	refused(t, "KMSInvalidStateException", err)
	_, err = c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/another"), TargetKeyId: key.KeyId})
	refused(t, "KMSInvalidStateException", err)
	described, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyId})
	require.NoError(t, err)
	require.Equal(t, types.KeyStatePendingDeletion, described.KeyMetadata.KeyState)

	_, err = c.CancelKeyDeletion(ctx, &kms.CancelKeyDeletionInput{KeyId: key.KeyId})
	require.NoError(t, err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	refused(t, "DisabledException", err)
	_, err = c.EnableKey(ctx, &kms.EnableKeyInput{KeyId: key.KeyId})
	require.NoError(t, err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	require.NoError(t, err)

	_, err = c.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: key.KeyId})
	require.NoError(t, err)
	h.now = h.now.AddDate(0, 0, 30)
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: key.KeyId})
	refused(t, "NotFoundException", err)
	_, err = c.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
	refused(t, "AccessDeniedException", err)
	_, err = c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
	refused(t, "NotFoundException", err)
}

func TestWhatKMSRefusesIsRefusedByItsErrors(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	key := h.stackKey("alias/one")
	c := h.kms(root())
	for name, test := range map[string]struct {
		code string
		do   func() error
	}{
		"a key that is not there": {"NotFoundException", func() error {
			_, err := c.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("00000000-0000-4000-8000-000000000000")})
			return err
		}},
		"an alias that is not there": {"NotFoundException", func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: aws.String("alias/none"), Plaintext: []byte("x")})
			return err
		}},
		"an alias where only a key will do": {"NotFoundException", func() error {
			_, err := c.EnableKeyRotation(ctx, &kms.EnableKeyRotationInput{KeyId: aws.String("alias/one")})
			return err
		}},
		"an alias twice": {"AlreadyExistsException", func() error {
			_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/one"), TargetKeyId: key.KeyId})
			return err
		}},
		"an alias of AWS's": {"InvalidAliasNameException", func() error {
			_, err := c.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String("alias/aws/ebs"), TargetKeyId: key.KeyId})
			return err
		}},
		"the deletion of no alias": {"NotFoundException", func() error {
			_, err := c.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/none")})
			return err
		}},
		"too much to encrypt": {"ValidationException", func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: make([]byte, 4097)})
			return err
		}},
		"an algorithm of key pairs": {"InvalidKeyUsageException", func() error {
			_, err := c.Encrypt(ctx, &kms.EncryptInput{
				KeyId: key.KeyId, Plaintext: []byte("x"), EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256,
			})
			return err
		}},
		"a key pair": {"UnsupportedOperationException", func() error {
			_, err := c.CreateKey(ctx,
				&kms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
			return err
		}},
		"a key policy, which nothing would heed": {"ValidationException", func() error {
			_, err := c.CreateKey(ctx, &kms.CreateKeyInput{Policy: aws.String("{}")})
			return err
		}},
		"an operation that localcloud does not have": {"UnknownOperationException", func() error {
			_, err := c.ListGrants(ctx, &kms.ListGrantsInput{KeyId: key.KeyId})
			return err
		}},
		"an operation of STS that localcloud does not have": {"InvalidAction", func() error {
			_, err := h.sts(root()).AssumeRole(ctx,
				&sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/r"), RoleSessionName: aws.String("s")})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) { refused(t, test.code, test.do()) })
	}
}

func TestARoleDoesWithAKeyWhatItsPoliciesAllow(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	test, production := h.stackKey("alias/test"), h.stackKey("alias/production")
	reader := h.kms(h.role("preview",
		`[{"Effect":"Allow","Action":["kms:Decrypt","kms:DescribeKey"],"Resource":"`+*test.Arn+`"}]`))
	seal := func(key *types.KeyMetadata) []byte {
		sealed, err := h.kms(root()).Encrypt(ctx, &kms.EncryptInput{KeyId: key.KeyId, Plaintext: []byte("secret")})
		require.NoError(t, err)
		return sealed.CiphertextBlob
	}
	opened, err := reader.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: seal(test), KeyId: aws.String("alias/test")})
	require.NoError(t, err)
	require.Equal(t, "secret", string(opened.Plaintext))
	_, err = reader.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: seal(production)})
	refused(t, "AccessDeniedException", err)
	require.ErrorContains(t, err,
		"User: arn:aws:sts::123456789012:assumed-role/preview/localcloud is not authorized to perform: "+
			"kms:Decrypt on resource: "+*production.Arn+" because no identity-based policy allows the kms:Decrypt action")
	_, err = reader.Encrypt(ctx, &kms.EncryptInput{KeyId: test.KeyId, Plaintext: []byte("x")})
	refused(t, "AccessDeniedException", err)
	_, err = reader.ScheduleKeyDeletion(ctx, &kms.ScheduleKeyDeletionInput{KeyId: test.KeyId})
	refused(t, "AccessDeniedException", err)
	_, err = reader.CreateKey(ctx, &kms.CreateKeyInput{})
	refused(t, "AccessDeniedException", err)

	namer := h.kms(h.role("namer",
		`[{"Effect":"Allow","Action":"kms:*","Resource":["`+*test.Arn+`","arn:aws:kms:*:*:alias/test-*"]}]`))
	name := func(aliasName string, key *types.KeyMetadata) error {
		_, err := namer.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &aliasName, TargetKeyId: key.KeyId})
		return err
	}
	require.NoError(t, name("alias/test-2", test))
	require.ErrorContains(t, name("alias/other", test),
		"kms:CreateAlias on resource: arn:aws:kms:us-east-1:123456789012:alias/other")
	require.ErrorContains(t, name("alias/test-3", production), "kms:CreateAlias on resource: "+*production.Arn)
	_, err = namer.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/production")})
	refused(t, "AccessDeniedException", err)
	_, err = h.kms(root()).CreateAlias(ctx,
		&kms.CreateAliasInput{AliasName: aws.String("alias/test-3"), TargetKeyId: production.KeyId})
	require.NoError(t, err)
	_, err = namer.DeleteAlias(ctx, &kms.DeleteAliasInput{AliasName: aws.String("alias/test-3")})
	refused(t, "AccessDeniedException", err)

	tagged := h.kms(h.role("tagged", `[
		{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*",
			"Condition":{"StringEquals":{"aws:ResourceTag/Stack":"test"}}},
		{"Effect":"Allow","Action":["kms:CreateKey","kms:TagResource"],"Resource":"*"},
		{"Effect":"Deny","Action":"kms:TagResource","Resource":"*",
			"Condition":{"StringEquals":{"aws:RequestTag/Stack":"production"}}}]`))
	_, err = tagged.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: seal(test)})
	require.NoError(t, err)
	stack := func(name string) *kms.CreateKeyInput {
		return &kms.CreateKeyInput{Tags: []types.Tag{{TagKey: aws.String("Stack"), TagValue: &name}}}
	}
	_, err = tagged.CreateKey(ctx, stack("production"))
	refused(t, "AccessDeniedException", err)
	require.ErrorContains(t, err, "with an explicit deny")
	drill, err := tagged.CreateKey(ctx, stack("drill"))
	require.NoError(t, err)
	_, err = tagged.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: seal(drill.KeyMetadata)})
	refused(t, "AccessDeniedException", err)
}

func TestTheCallerIsWhoHasSigned(t *testing.T) {
	h := newHarness(t)
	ctx := t.Context()
	who, err := h.sts(root()).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	require.Equal(t, "123456789012", *who.Account)
	require.Equal(t, "arn:aws:iam::123456789012:user/localcloud", *who.Arn)
	who, err = h.sts(h.role("preview", `{"Effect":"Deny","Action":"*","Resource":"*"}`)).GetCallerIdentity(ctx,
		&sts.GetCallerIdentityInput{})
	require.NoError(t, err)
	require.Equal(t, "arn:aws:sts::123456789012:assumed-role/preview/localcloud", *who.Arn)
	require.Equal(t, "AROApreview:localcloud", *who.UserId)

	for code, account := range map[string]store.Account{
		"InvalidClientTokenId":  {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "root's"},
		"SignatureDoesNotMatch": {AccessKeyID: root().AccessKeyID, SecretAccessKey: "another"},
	} {
		_, err := h.sts(account).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		refused(t, code, err)
	}
	for code, account := range map[string]store.Account{
		"UnrecognizedClientException": {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "root's"},
		"InvalidSignatureException":   {AccessKeyID: root().AccessKeyID, SecretAccessKey: "another"},
	} {
		_, err := h.kms(account).DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
		refused(t, code, err)
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

// altered changes the body of a request that is signed already.
type altered struct{ next http.RoundTripper }

func (a altered) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, errors.Join(err, r.Body.Close())
	}
	changed := r.Clone(r.Context())
	changed.Body = io.NopCloser(bytes.NewReader(bytes.Replace(body, []byte("one"), []byte("two"), 1)))
	return a.next.RoundTrip(changed)
}

func TestARequestThatIsChangedOnItsWayIsRefused(t *testing.T) {
	h := newHarness(t)
	h.stackKey("alias/one")
	h.stackKey("alias/two")
	c := kms.New(kms.Options{
		BaseEndpoint: aws.String(h.http.URL), Region: "us-east-1", RetryMaxAttempts: 1,
		HTTPClient:  &http.Client{Transport: altered{h.http.Client().Transport}},
		Credentials: credentials.NewStaticCredentialsProvider(root().AccessKeyID, root().SecretAccessKey, ""),
	})
	_, err := c.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/one")})
	refused(t, "InvalidSignatureException", err)
}
