package certificates

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/certificates/certificatestest"
)

const key = "certificates/0123456789abcdef/acme.json"

// inMonths returns an expiry for the certificates of these tests.
func inMonths(months int) time.Time { return time.Now().AddDate(0, months, 0) }

// newBackup returns the backup of a server whose acme.json does not exist yet.
func newBackup(t *testing.T) (backup Backup, s3 *buckettest.Server, log *bytes.Buffer) {
	t.Helper()
	s3 = buckettest.Start(t)
	store, err := bucket.Open(t.Context(), s3.Bucket, "")
	require.NoError(t, err)
	log = &bytes.Buffer{}
	return Backup{
		Store: store,
		Key:   key,
		File:  filepath.Join(t.TempDir(), "acme.json"),
		Log:   slog.New(slog.NewTextHandler(log, nil)),
	}, s3, log
}

// write writes acme.json, like Traefik.
func (b Backup) write(t *testing.T, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(b.File, []byte(text), 0o600))
}

func TestCertificatesAreBackedUpWhenTheyAreNew(t *testing.T) {
	backup, s3, log := newBackup(t)
	text := certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org"),
		certificatestest.New(t, inMonths(3), "www.example.org"))
	backup.write(t, text)
	require.NoError(t, backup.Run(t.Context()))
	stored, exists := s3.Object(key)
	require.True(t, exists)
	require.Equal(t, text, stored.Content)
	require.Equal(t, "application/json", stored.ContentType)
	require.Contains(t, log.String(), "msg=\"backed up the certificates\" names=example.org,www.example.org to="+key+"\n")

	log.Reset()
	s3.TakeRequests()
	require.NoError(t, backup.Run(t.Context()))
	require.Equal(t, []string{"GET " + key + " 200"}, s3.TakeRequests(), "an unchanged file is not uploaded again")
	require.Empty(t, log.String())

	renewed := certificatestest.Storage(t, certificatestest.New(t, inMonths(6), "example.org"),
		certificatestest.New(t, inMonths(6), "www.example.org"))
	backup.write(t, renewed)
	require.NoError(t, backup.Run(t.Context()))
	stored, _ = s3.Object(key)
	require.Equal(t, renewed, stored.Content)
}

func TestDeletedBackupIsUploadedAgain(t *testing.T) {
	backup, s3, _ := newBackup(t)
	backup.write(t, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org")))
	require.NoError(t, backup.Run(t.Context()))
	s3.Delete(key)
	require.NoError(t, backup.Run(t.Context()))
	_, exists := s3.Object(key)
	require.True(t, exists)
}

func TestNothingIsBackedUpWithoutCertificate(t *testing.T) {
	for name, text := range map[string]string{
		"nothing requested yet": "",
		"first request pending": certificatestest.Storage(t),
		"no resolver":           "{}",
	} {
		t.Run(name, func(t *testing.T) {
			backup, s3, _ := newBackup(t)
			require.NoError(t, backup.Run(t.Context()), "there is no file yet")
			backup.write(t, text)
			require.NoError(t, backup.Run(t.Context()))
			require.Empty(t, s3.TakeRequests())
		})
	}
}

// Traefik writes the file in place: a concurrent reader may get a part of it.
func TestPartlyWrittenFileNeverReplacesBackup(t *testing.T) {
	backup, s3, _ := newBackup(t)
	before := certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org"))
	backup.write(t, before)
	require.NoError(t, backup.Run(t.Context()))
	s3.TakeRequests()
	text := certificatestest.Storage(t, certificatestest.New(t, inMonths(6), "example.org"))
	for length := 1; length < len(text); length += 97 {
		backup.write(t, text[:length])
		require.ErrorContains(t, backup.Run(t.Context()),
			backup.File+" is unusable: it is not in the format of Traefik: ", "%d bytes of %d", length,
			len(text))
	}
	require.Empty(t, s3.TakeRequests())
}

func TestUnusableCertificatesAreNotBackedUp(t *testing.T) {
	pair := certificatestest.New(t, inMonths(3), "example.org")
	other := certificatestest.New(t, inMonths(3), "example.org")
	for name, test := range map[string]struct{ text, want string }{
		"no account": {
			strings.ReplaceAll(certificatestest.Storage(t, pair), `"uri": "https://acme.example.org/account/1"`, `"uri": ""`),
			"it has no account for acme",
		},
		"key of another certificate": {
			certificatestest.Storage(t, certificatestest.Pair{Names: pair.Names, Certificate: pair.Certificate, Key: other.Key}),
			"its certificate 1 of acme is broken: tls: private key does not match public key",
		},
		"truncated certificate": {
			certificatestest.Storage(t,
				certificatestest.Pair{Names: pair.Names, Certificate: pair.Certificate[:100], Key: pair.Key}),
			"its certificate 1 of acme is broken: ",
		},
		"another format": {`[1]`, "it is not in the format of Traefik: "},
	} {
		t.Run(name, func(t *testing.T) {
			backup, s3, _ := newBackup(t)
			backup.write(t, test.text)
			require.ErrorContains(t, backup.Run(t.Context()), test.want)
			require.Empty(t, s3.TakeRequests())
		})
	}
}

func TestErrorOfFailedBackupNamesTheCause(t *testing.T) {
	const advice = "access denied (AccessDenied: AccessDenied in words): check what this server's role may do in the " +
		"backup bucket"
	for name, deny := range map[string]func(*buckettest.Server){
		"reading": (*buckettest.Server).Deny, "writing": (*buckettest.Server).DenyPuts,
	} {
		t.Run(name, func(t *testing.T) {
			backup, s3, _ := newBackup(t)
			backup.write(t, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org")))
			deny(s3)
			require.ErrorContains(t, backup.Run(t.Context()), advice)
		})
	}
}

func TestEachCertificateAuthorityHasItsOwnBackup(t *testing.T) {
	const directory, ca = "https://acme.example.org/dir", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	// echo https://acme.example.org/dir | sha256sum
	require.Equal(t, "certificates/c361ddfb95553cdf/acme.json", Key(directory, ""))
	require.NotEqual(t, Key(directory, ""), Key(directory, ca), "a new test authority has the same URL")
	require.NotEqual(t, Key(directory, ""), Key("https://acme.example.net/dir", ""))
}
