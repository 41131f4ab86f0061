package bucket_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/imdstest"
)

func TestUnchangedObjectIsNotReadAgain(t *testing.T) {
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

func TestObjectIsReadAsWritten(t *testing.T) {
	server := buckettest.Start(t)
	content, err := bucket.Open(t.Context(), server.Bucket, "")
	require.NoError(t, err)
	for _, text := range []string{`{"server":"i-1"}`, `{"server":"i-2"}`, ""} {
		require.NoError(t, content.Put(t.Context(), "handover/holder.json", []byte(text), "application/json"))
		stored, exists := server.Object("handover/holder.json")
		require.True(t, exists)
		require.Equal(t, text, stored.Content)
		require.Equal(t, "application/json", stored.ContentType)

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

func TestReadReturnsWholeObjectUpToLimit(t *testing.T) {
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
	require.EqualError(t, err, "get s3://content/handover/holder.json: the object is unreadable: it has more than 7 bytes")
	_, _, err = content.Read(t.Context(), "handover/answer.json", "", 8)
	require.ErrorIs(t, err, bucket.ErrNotFound)
}

func TestPutReturnsTheErrorsOfGet(t *testing.T) {
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

func TestMissingObjectMissingBucketAndDenialDiffer(t *testing.T) {
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

func TestErrorWithoutRegionNamesTheVariable(t *testing.T) {
	buckettest.Start(t)
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	_, err := bucket.Open(t.Context(), "content", "")
	require.EqualError(t, err, "no AWS region: set AWS_REGION")
}

// The server's role grants access to the bucket, without a key in a file or in the environment, and with a
// metadata service that rejects requests without a token.
func TestInstanceRoleIsUsedThroughIMDSv2(t *testing.T) {
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

// servers runs a test with each of the servers, which must respond alike.
func servers(t *testing.T, test func(t *testing.T, store *bucket.Bucket)) {
	for name, start := range map[string]func(t *testing.T) string{
		"fake":      func(t *testing.T) string { return buckettest.Start(t).Bucket },
		"versitygw": func(t *testing.T) string { return buckettest.StartGateway(t).Bucket },
	} {
		t.Run(name, func(t *testing.T) {
			store, err := bucket.Open(t.Context(), start(t), "")
			require.NoError(t, err)
			test(t, store)
		})
	}
}

func TestSecondPutOfNewObjectFails(t *testing.T) {
	servers(t, func(t *testing.T, store *bucket.Bucket) {
		require.NoError(t, store.PutNew(t.Context(), "epochs/1.json", []byte("i-1"), "application/json"))
		err := store.PutNew(t.Context(), "epochs/1.json", []byte("i-2"), "application/json")
		require.ErrorIs(t, err, bucket.ErrExists)
		require.ErrorContains(t, err, "put "+store.URL("epochs/1.json")+": exists already")
		text, _, err := store.Read(t.Context(), "epochs/1.json", "", 100)
		require.NoError(t, err)
		require.Equal(t, "i-1", string(text))
	})
}

func TestOneOfManyConcurrentPutsOfNewObjectSucceeds(t *testing.T) {
	servers(t, func(t *testing.T, store *bucket.Bucket) {
		results := make(chan error)
		for i := range 8 {
			go func() { results <- store.PutNew(t.Context(), "epochs/1.json", []byte{byte('0' + i)}, "text/plain") }()
		}
		succeeded := 0
		for range 8 {
			if err := <-results; err == nil {
				succeeded++
			} else {
				require.ErrorIs(t, err, bucket.ErrExists)
			}
		}
		require.Equal(t, 1, succeeded)
	})
}

func TestSectionOfFileIsStoredAsObject(t *testing.T) {
	servers(t, func(t *testing.T, store *bucket.Bucket) {
		file := strings.NewReader("0123456789")
		for _, section := range []struct {
			from, length int64
			want         string
		}{{0, 10, "0123456789"}, {3, 4, "3456"}, {10, 0, ""}} {
			require.NoError(t, store.PutSection(t.Context(), "wal/1", io.NewSectionReader(file, section.from, section.length)))
			text, _, err := store.Read(t.Context(), "wal/1", "", 100)
			require.NoError(t, err)
			require.Equal(t, section.want, string(text))
		}
	})
}

func TestListingContainsTimesOfTheBucketsClock(t *testing.T) {
	servers(t, func(t *testing.T, store *bucket.Bucket) {
		before := time.Now().Add(-2 * time.Second)
		for _, key := range []string{"wal/2", "wal/1", "blocks/1"} {
			require.NoError(t, store.Put(t.Context(), key, []byte(key), "text/plain"))
		}
		listing, err := store.List(t.Context(), "wal/")
		require.NoError(t, err)
		require.Len(t, listing.Objects, 2)
		require.WithinRange(t, listing.At, before, time.Now())
		for i, key := range []string{"wal/1", "wal/2"} {
			require.Equal(t, key, listing.Objects[i].Key)
			require.Equal(t, int64(5), listing.Objects[i].Size)
			require.WithinRange(t, listing.Objects[i].Modified, before, time.Now())
		}
		require.NoError(t, store.Delete(t.Context(), "wal/1"))
		require.NoError(t, store.Delete(t.Context(), "wal/1"), "deleting a missing object succeeds")
		listing, err = store.List(t.Context(), "wal/")
		require.NoError(t, err)
		require.Len(t, listing.Objects, 1)
		listing, err = store.List(t.Context(), "none/")
		require.NoError(t, err)
		require.Empty(t, listing.Objects)
	})
}

func TestListingOfManyObjectsIsComplete(t *testing.T) {
	gateway := buckettest.StartGateway(t)
	store, err := bucket.Open(t.Context(), gateway.Bucket, "")
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(gateway.Path("wal"), 0o755))
	for i := range 2100 {
		require.NoError(t, os.WriteFile(gateway.Path(fmt.Sprintf("wal/%08d", i)), nil, 0o644))
	}
	listing, err := store.List(t.Context(), "wal/")
	require.NoError(t, err)
	require.Len(t, listing.Objects, 2100)
	require.Equal(t, "wal/00002099", listing.Objects[2099].Key)
}

func TestListingAndDeletionWithoutPermissionAreDenied(t *testing.T) {
	server := buckettest.Start(t)
	store, err := bucket.Open(t.Context(), server.Bucket, "")
	require.NoError(t, err)
	server.Put("wal/1", "text")
	server.DenyPuts()
	require.ErrorIs(t, store.Delete(t.Context(), "wal/1"), bucket.ErrDenied)
	require.ErrorIs(t, store.PutNew(t.Context(), "wal/2", nil, "text/plain"), bucket.ErrDenied)
	server.Deny()
	_, err = store.List(t.Context(), "wal/")
	require.ErrorIs(t, err, bucket.ErrDenied)
	other, err := bucket.Open(t.Context(), "other", "")
	require.NoError(t, err)
	_, err = other.List(t.Context(), "wal/")
	require.ErrorIs(t, err, bucket.ErrNoBucket)
}
