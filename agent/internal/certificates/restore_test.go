package certificates

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/certificates/certificatestest"
)

// newRestore returns the restore of a new server, whose Traefik has never run.
func newRestore(t *testing.T, names ...string) (restore Restore, s3 *buckettest.Server) {
	t.Helper()
	s3 = buckettest.Start(t)
	store, err := bucket.Open(t.Context(), s3.Bucket, "")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "acme"), 0o700))
	return Restore{
		Store: store, Key: key, Names: names, File: filepath.Join(dir, "acme", "acme.json"),
		Record: filepath.Join(dir, "restored.json"),
	}, s3
}

// restored returns the content of acme.json, and the record.
func (r Restore) restored(t *testing.T) (text string, record Record) {
	t.Helper()
	content, err := os.ReadFile(r.File)
	require.NoError(t, err)
	record, err = ReadRecord(r.Record)
	require.NoError(t, err)
	return string(content), record
}

func TestNewServerHasThePreviousCertificates(t *testing.T) {
	restore, s3 := newRestore(t, "example.org", "www.example.org")
	end := inMonths(3)
	text := certificatestest.Storage(t, certificatestest.New(t, end, "example.org"),
		certificatestest.New(t, end, "www.example.org"))
	s3.Put(key, text)
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.True(t, result.Found)
	require.True(t, result.Changed)
	require.Empty(t, result.Missing)
	until := end.UTC().Format(time.RFC3339)
	require.Equal(t, "example.org: valid until "+until+"; www.example.org: valid until "+until, result.String())
	restored, record := restore.restored(t)
	require.Equal(t, text, restored)
	require.Equal(t, Record{}, record)
	stat, err := os.Stat(restore.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), stat.Mode().Perm(), "Traefik requires this mode")

	result, err = restore.Run(t.Context())
	require.NoError(t, err)
	require.False(t, result.Changed, "nothing is new")
	left, err := os.ReadDir(filepath.Dir(restore.File))
	require.NoError(t, err)
	require.Len(t, left, 1)
}

func TestRestoredFileBelongsToTraefik(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the owner of files")
	}
	restore, s3 := newRestore(t, "example.org")
	require.NoError(t, os.Chown(filepath.Dir(restore.File), 900, 901))
	s3.Put(key, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org")))
	_, err := restore.Run(t.Context())
	require.NoError(t, err)
	stat, err := os.Stat(restore.File)
	require.NoError(t, err)
	owner := stat.Sys().(*syscall.Stat_t)
	require.Equal(t, [2]uint32{900, 901}, [2]uint32{owner.Uid, owner.Gid})
}

func TestFirstServerContinuesWithoutCertificates(t *testing.T) {
	restore, _ := newRestore(t, "example.org", "www.example.org")
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, Result{Missing: []string{"example.org", "www.example.org"}}, result)
	require.Equal(t, "no certificates were backed up yet; example.org, www.example.org: requested when the VIP arrives",
		result.String())
	require.NoFileExists(t, restore.File)
	record, err := ReadRecord(restore.Record)
	require.NoError(t, err)
	require.Equal(t, Record{Missing: []string{"example.org", "www.example.org"}}, record)
}

func TestOwnCertificatesStayWithoutBackup(t *testing.T) {
	restore, _ := newRestore(t, "example.org", "www.example.org")
	text := certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org"))
	require.NoError(t, os.WriteFile(restore.File, []byte(text), 0o600))
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.False(t, result.Changed)
	restored, record := restore.restored(t)
	require.Equal(t, text, restored)
	require.Equal(t, Record{Missing: []string{"www.example.org"}}, record)
}

func TestNewNameIsReportedAndDoesNotBlockUpdate(t *testing.T) {
	restore, s3 := newRestore(t, "example.org", "new.example.org")
	s3.Put(key, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org")))
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.True(t, result.Changed)
	require.Equal(t, []string{"new.example.org"}, result.Missing)
	require.Contains(t, result.String(), "; new.example.org: requested when the VIP arrives")
	_, record := restore.restored(t)
	require.Equal(t, Record{Missing: []string{"new.example.org"}}, record)
}

func TestCertificateThatExpiresTooSoonIsNotRestored(t *testing.T) {
	restore, s3 := newRestore(t, "example.org", "www.example.org", "old.example.org")
	good := certificatestest.New(t, inMonths(3), "example.org")
	s3.Put(key, certificatestest.Storage(t, good,
		certificatestest.New(t, time.Now().Add(47*time.Hour), "www.example.org"),
		certificatestest.New(t, time.Now().Add(-time.Minute), "old.example.org")))
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"www.example.org", "old.example.org"}, result.Missing,
		"Traefik does not request certificates that it has")
	text, record := restore.restored(t)
	require.JSONEq(t, certificatestest.Storage(t, good), text, "the rest is unchanged")
	require.Equal(t, result.Missing, record.Missing)

	result, err = restore.Run(t.Context())
	require.NoError(t, err)
	require.False(t, result.Changed)
}

func TestCertificateForSeveralNamesCoversEachName(t *testing.T) {
	restore, s3 := newRestore(t, "example.org", "www.example.org", "monitoring.example.org")
	s3.Put(key,
		certificatestest.Storage(t, certificatestest.New(t, inMonths(1), "example.org", "www.example.org"),
			certificatestest.New(t, inMonths(2), "*.example.org")))
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.Empty(t, result.Missing)
	longest, exists := result.Storage.For("www.example.org")
	require.True(t, exists)
	require.Equal(t, []string{"*.example.org"}, longest.Leaf.DNSNames)
}

func TestUnreachableBucketIsNotTreatedAsEmpty(t *testing.T) {
	restore, s3 := newRestore(t, "example.org")
	s3.Deny()
	_, err := restore.Run(t.Context())
	for _, want := range []string{
		"the backup is unreadable; refusing to treat it as missing: ", "access denied",
		"check what this server's role may do",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NoFileExists(t, restore.File)
	require.NoFileExists(t, restore.Record)
}

// Objects that a compromised server could leave in place of acme.json.
func TestUnusableCertificatesDoNotBlockTheNextServer(t *testing.T) {
	pair, other := certificatestest.New(t, inMonths(3), "example.org"), certificatestest.New(t, inMonths(3), "example.org")
	good := certificatestest.Storage(t, pair)
	swapped := pair
	swapped.Key = other.Key
	for name, test := range map[string]struct{ text, want string }{
		"truncated":        {good[:len(good)/2], "is unusable: it is not in the format of Traefik"},
		"empty":            {"", "is unusable: it is not in the format of Traefik"},
		"an empty object":  {"{}", "is unusable: it has no certificate"},
		"null":             {"null", "is unusable: it has no certificate"},
		"a list":           {"[]", "is unusable: it is not in the format of Traefik"},
		"a number":         {"1e999", "is unusable: it is not in the format of Traefik"},
		"endless brackets": {strings.Repeat("[", 1<<20), "is unusable: it is not in the format of Traefik"},
		"no certificates":  {certificatestest.Storage(t), "is unusable: it has no certificate"},
		"no account": {
			strings.Replace(good, `"Account"`, `"Other"`, 1), "is unusable: its account of acme is not in the format of Traefik",
		},
		"no account key": {
			strings.Replace(good, `"PrivateKey": "`, `"PrivateKey": "AAAA`, 1), "is unusable: it has no account for acme",
		},
		"another key": {certificatestest.Storage(t, swapped), "is unusable: its certificate 1 of acme is broken"},
		"too large": {
			strings.Repeat("x", 2<<20), "is unusable: get s3://content/" + key + ": the object is unreadable",
		},
		"a command to CI": {"{\"\\n::stop-commands::\":{\"Certificates\":[1]}}", "?::stop-commands::"},
	} {
		t.Run(name, func(t *testing.T) {
			restore, s3 := newRestore(t, "example.org")
			s3.Put(key, test.text)
			result, err := restore.Run(t.Context())
			require.NoError(t, err)
			require.Contains(t, result.String(), "CERTIFICATES IN THE BACKUP BUCKET ARE UNUSABLE: ")
			require.Contains(t, result.String(), test.want)
			require.NotContains(t, result.String(), "\n")
			require.Equal(t, []string{"example.org"}, result.Missing, "it will be requested")
			require.NoFileExists(t, restore.File)

			// The certificates that were restored before stay.
			s3.Put(key, good)
			_, err = restore.Run(t.Context())
			require.NoError(t, err)
			s3.Put(key, test.text)
			result, err = restore.Run(t.Context())
			require.NoError(t, err)
			require.False(t, result.Changed)
			require.Empty(t, result.Missing)
			restored, _ := restore.restored(t)
			require.Equal(t, good, restored)

			// The next backup replaces the other one.
			require.NoError(t,
				Backup{Store: restore.Store, Key: key, File: restore.File, Log: slog.New(slog.DiscardHandler)}.Run(t.Context()))
			stored, _ := s3.Object(key)
			require.Equal(t, good, stored.Content)
		})
	}
}

func TestCertificatesOfOtherNamesAreNotRestored(t *testing.T) {
	restore, s3 := newRestore(t, "example.org")
	good := certificatestest.New(t, inMonths(3), "example.org")
	s3.Put(key, certificatestest.Storage(t, good, certificatestest.New(t, inMonths(3), "evil.example.net")))
	_, err := restore.Run(t.Context())
	require.NoError(t, err)
	text, _ := restore.restored(t)
	require.JSONEq(t, certificatestest.Storage(t, good), text)
	s3.Put(key, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "evil.example.net")))
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"example.org"}, result.Missing)
}

// The forged certificate would be served for years, and Traefik would not request another one.
func TestCertificateOfUntrustedAuthorityIsNotRestored(t *testing.T) {
	restore, s3 := newRestore(t, "example.org")
	forged := certificatestest.New(t, time.Now().AddDate(70, 0, 0), "example.org")
	s3.Put(key, certificatestest.Storage(t, forged))
	restore.Roots = x509.NewCertPool()
	result, err := restore.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"example.org"}, result.Missing)
	require.Contains(t, result.String(), "one of the certificates is not from an authority that browsers trust")
	require.True(t, restore.Roots.AppendCertsFromPEM(forged.Certificate))
	result, err = restore.Run(t.Context())
	require.NoError(t, err)
	require.Empty(t, result.Missing)
}

func TestRootFollowsNoLinkThatTraefikPlants(t *testing.T) {
	restore, s3 := newRestore(t, "example.org")
	s3.Put(key, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org")))
	elsewhere := t.TempDir()
	secret := filepath.Join(elsewhere, "shadow")
	require.NoError(t, os.WriteFile(secret, []byte("root"), 0o600))
	for _, link := range []string{restore.File, filepath.Dir(restore.File)} {
		require.NoError(t, os.RemoveAll(link))
		target := secret
		if link != restore.File {
			target = elsewhere
		}
		require.NoError(t, os.Symlink(target, link))
		_, err := restore.Run(t.Context())
		require.Error(t, err)
		entries, err := os.ReadDir(elsewhere)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		text, err := os.ReadFile(secret)
		require.NoError(t, err)
		require.Equal(t, "root", string(text))
	}
}

func TestServerReportsItsMissingBackup(t *testing.T) {
	backup, s3, _ := newBackup(t)
	backup.Sent = filepath.Join(t.TempDir(), "certificates.sent")
	backup.write(t, certificatestest.Storage(t, certificatestest.New(t, inMonths(1), "example.org")))
	for i, want := range []bool{false, false, true, false} {
		if i == 2 {
			s3.Delete(key)
		}
		gone, err := backup.Watch(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, gone, i)
	}
}

func FuzzStorage(f *testing.F) {
	for _, seed := range []string{
		"{}", "[]", "null",
		`{"acme":{"Account":{"Registration":{"uri":"x"},"PrivateKey":"AAAA"},"Certificates":[{"certificate":"AAAA","key":"AAAA"}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		storage, err := Parse(text)
		if err != nil || storage.validate() != nil {
			return
		}
		storage.Missing([]string{"example.org"})
		_, again, err := storage.filter(func(Certificate) bool { return true })
		require.NoError(t, err)
		_, err = Parse(again)
		require.NoError(t, err)
	})
}

func TestRecordIsJSON(t *testing.T) {
	restore, _ := newRestore(t, "example.org")
	_, err := restore.Run(t.Context())
	require.NoError(t, err)
	text, err := os.ReadFile(restore.Record)
	require.NoError(t, err)
	require.JSONEq(t, `{"missing":["example.org"]}`, string(text))

	require.NoError(t, os.WriteFile(restore.Record, []byte("{"), 0o644))
	_, err = ReadRecord(restore.Record)
	var syntax *json.SyntaxError
	require.ErrorAs(t, err, &syntax)
	require.ErrorContains(t, err, restore.Record)
}

func TestHandoverRestoresCertificatesRenewedMeanwhile(t *testing.T) {
	old, s3, _ := newBackup(t)
	old.write(t, certificatestest.Storage(t, certificatestest.New(t, inMonths(1), "example.org")))
	require.NoError(t, Data{Backup: old}.Release(t.Context()))
	restore, _ := newRestore(t, "example.org")
	restore.Store = old.Store
	_, err := restore.Run(t.Context())
	require.NoError(t, err)

	var out bytes.Buffer
	restarts := 0
	successor := Data{Restoring: restore, Out: &out, Restart: func(context.Context) error { restarts++; return nil }}
	require.NoError(t, successor.Restore(t.Context()))
	require.Zero(t, restarts, "unchanged certificates are served already")
	require.Empty(t, out.String())

	renewed := certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org"))
	old.write(t, renewed)
	require.NoError(t, Data{Backup: old}.Release(t.Context()))
	stored, _ := s3.Object(key)
	require.Equal(t, renewed, stored.Content)
	require.NoError(t, successor.Restore(t.Context()))
	require.Equal(t, 1, restarts)
	require.Contains(t, out.String(), "restored newer certificates: example.org: valid until ")
	restored, _ := restore.restored(t)
	require.Equal(t, renewed, restored)
	require.NoError(t, successor.Resume(t.Context()))
}

func TestFailedRestartOfTraefikFailsHandover(t *testing.T) {
	restore, s3 := newRestore(t, "example.org")
	s3.Put(key, certificatestest.Storage(t, certificatestest.New(t, inMonths(3), "example.org")))
	successor := Data{
		Restoring: restore,
		Out:       io.Discard,
		Restart:   func(context.Context) error { return errors.New("it is unhealthy") },
	}
	require.EqualError(t, successor.Restore(t.Context()), "it is unhealthy")
}

func TestMissingFileHasNoCertificates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "acme.json")
	storage, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, []string{"example.org"}, storage.Missing([]string{"example.org"}))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = ReadFile(path)
	require.NoError(t, err, "Traefik creates an empty file")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = ReadFile(path)
	require.ErrorContains(t, err, path+": it is not in the format of Traefik: ")
}
