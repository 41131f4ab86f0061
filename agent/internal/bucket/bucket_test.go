package bucket_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/imdstest"
)

func TestAnObjectIsReadOnceAndThenOnlyWhenItChanged(t *testing.T) {
	server := buckettest.Start(t)
	server.Put("site/a b/ü+.html", "one")
	content, err := bucket.Open(t.Context(), server.Bucket, "")
	require.NoError(t, err)

	object, err := content.Get(t.Context(), "site/a b/ü+.html", "")
	require.NoError(t, err)
	text, err := io.ReadAll(object.Body)
	require.NoError(t, err)
	require.NoError(t, object.Body.Close())
	require.Equal(t, "one", string(text))

	_, err = content.Get(t.Context(), "site/a b/ü+.html", object.ETag)
	require.ErrorIs(t, err, bucket.ErrNotModified)

	server.Put("site/a b/ü+.html", "two")
	object, err = content.Get(t.Context(), "site/a b/ü+.html", object.ETag)
	require.NoError(t, err)
	text, err = io.ReadAll(object.Body)
	require.NoError(t, err)
	require.NoError(t, object.Body.Close())
	require.Equal(t, "two", string(text))
}

func TestAnObjectThatIsPutIsReadBack(t *testing.T) {
	server := buckettest.Start(t)
	content, err := bucket.Open(t.Context(), server.Bucket, "")
	require.NoError(t, err)
	for _, text := range []string{`{"server":"i-1"}`, `{"server":"i-2"}`, ""} {
		require.NoError(t, content.Put(t.Context(), "handover/holder.json", []byte(text), "application/json"))
		stored, exists := server.Object("handover/holder.json")
		require.True(t, exists)
		require.Equal(t, buckettest.Object{Content: text, ContentType: "application/json"}, stored)

		object, err := content.Get(t.Context(), "handover/holder.json", "")
		require.NoError(t, err)
		read, err := io.ReadAll(object.Body)
		require.NoError(t, err)
		require.NoError(t, object.Body.Close())
		require.Equal(t, text, string(read))
	}
	const get, put = "GET handover/holder.json 200", "PUT handover/holder.json 200"
	require.Equal(t, []string{get, get, get, put, put, put}, server.TakeRequests())
}

func TestASmallObjectIsReadAsAWhole(t *testing.T) {
	server := buckettest.Start(t)
	server.Put("handover/holder.json", "12345678")
	content, err := bucket.Open(t.Context(), server.Bucket, "")
	require.NoError(t, err)

	text, etag, err := content.Read(t.Context(), "handover/holder.json", "", 8)
	require.NoError(t, err)
	require.Equal(t, "12345678", string(text))
	_, _, err = content.Read(t.Context(), "handover/holder.json", etag, 8)
	require.ErrorIs(t, err, bucket.ErrNotModified)
	_, _, err = content.Read(t.Context(), "handover/holder.json", "", 7)
	require.EqualError(t, err, "get s3://content/handover/holder.json: it has more than 7 bytes")
	_, _, err = content.Read(t.Context(), "handover/answer.json", "", 8)
	require.ErrorIs(t, err, bucket.ErrNotFound)
}

func TestAPutThatFailsIsToldLikeAGet(t *testing.T) {
	server := buckettest.Start(t)
	content, err := bucket.Open(t.Context(), server.Bucket, "")
	require.NoError(t, err)
	other, err := bucket.Open(t.Context(), "other", "")
	require.NoError(t, err)

	require.ErrorIs(t, other.Put(t.Context(), "a", []byte("text"), "text/plain"), bucket.ErrNoBucket)
	server.DenyPuts()
	err = content.Put(t.Context(), "a", []byte("text"), "text/plain")
	require.ErrorIs(t, err, bucket.ErrDenied)
	require.EqualError(t, err, "put s3://content/a: access denied (AccessDenied: AccessDenied in words)")
	_, exists := server.Object("a")
	require.False(t, exists)
}

func TestAMissingObjectAMissingBucketAndADeniedOneAreToldApart(t *testing.T) {
	server := buckettest.Start(t)
	content, err := bucket.Open(t.Context(), server.Bucket, "eu-central-1")
	require.NoError(t, err)
	other, err := bucket.Open(t.Context(), "other", "eu-central-1")
	require.NoError(t, err)

	_, err = content.Get(t.Context(), "SHA256SUMS", "")
	require.ErrorIs(t, err, bucket.ErrNotFound)
	require.EqualError(t, err, "get s3://content/SHA256SUMS: not found (NoSuchKey: NoSuchKey in words)")

	_, err = other.Get(t.Context(), "SHA256SUMS", "")
	require.ErrorIs(t, err, bucket.ErrNoBucket)

	server.Deny()
	_, err = content.Get(t.Context(), "SHA256SUMS", "")
	require.ErrorIs(t, err, bucket.ErrDenied)
	require.EqualError(t, err, "get s3://content/SHA256SUMS: access denied (AccessDenied: AccessDenied in words)")
}

func TestWithoutARegionTheErrorSaysWhatToWrite(t *testing.T) {
	buckettest.Start(t)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	_, err := bucket.Open(t.Context(), "content", "")
	require.EqualError(t, err, "no AWS region: give --region or set AWS_REGION")
}

// The server's role, and no key in a file or in the environment, opens the
// bucket; a metadata service that refuses requests without a token is enough.
func TestTheInstanceRoleIsUsedThroughIMDSv2(t *testing.T) {
	server := buckettest.Start(t)
	server.Put("SHA256SUMS", "text")
	metadata := imdstest.Serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/meta-data/iam/security-credentials/":
			_, _ = io.WriteString(w, "web-server")
		case "/latest/meta-data/iam/security-credentials/web-server":
			_, _ = io.WriteString(w, strings.ReplaceAll(`{"Code":"Success","Type":"AWS-HMAC",
				"AccessKeyId":"AKIAROLE","SecretAccessKey":"s","Token":"t","Expiration":"EXPIRATION"}`,
				"EXPIRATION", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	signedBy := make(chan string, 1)
	server.OnGet(func(_ string, r *http.Request) { signedBy <- r.Header.Get("Authorization") })

	content, err := bucket.Open(t.Context(), server.Bucket, "eu-central-1")
	require.NoError(t, err)
	object, err := content.Get(t.Context(), "SHA256SUMS", "")
	require.NoError(t, err)
	require.NoError(t, object.Body.Close())
	require.Contains(t, <-signedBy, "Credential=AKIAROLE/")
	require.Zero(t, metadata.Refused.Load())
}
