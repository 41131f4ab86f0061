package readiness

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"immutable-infra/agent/internal/disktest"
)

// disks returns the check of a server whose releases are on a disk of their own.
func disks(releases unix.Statfs_t) Disk {
	return Disk{
		Paths: []string{"/", "/srv/site"},
		Statfs: func(path string, stat *unix.Statfs_t) error {
			*stat = unix.Statfs_t{Bsize: 4096, Bfree: 200_000, Bavail: 180_000, Files: 1_000_000, Ffree: 900_000}
			if path == "/srv/site" {
				*stat = releases
			}
			return nil
		},
	}
}

func TestOnlyDiskSpaceForOrdinaryUsersCounts(t *testing.T) {
	for name, test := range map[string]struct {
		releases unix.Statfs_t
		verdict  Verdict
		detail   string
	}{
		"just enough": {
			unix.Statfs_t{Bsize: 4096, Bavail: 16_384, Files: 2000, Ffree: 1000}, Pass,
			"/: 703 MiB free, 64 MiB needed; /srv/site: 64 MiB free, 64 MiB needed",
		},
		"a block too few": {
			unix.Statfs_t{Bsize: 4096, Bavail: 16_383, Files: 2000, Ffree: 1000}, Fail,
			"/srv/site: 63 MiB free, 64 MiB needed",
		},
		"free for root only": {
			unix.Statfs_t{Bsize: 4096, Bfree: 100_000, Files: 2000, Ffree: 1000}, Fail,
			"/srv/site: 0 MiB free, 64 MiB needed",
		},
		"no room for files": {
			unix.Statfs_t{Bsize: 4096, Bavail: 100_000, Files: 2000, Ffree: 999}, Fail,
			"/srv/site: room for 999 more files, 1000 needed",
		},
		"without a fixed number of files": {
			unix.Statfs_t{Bsize: 4096, Bavail: 100_000}, Pass,
			"/: 703 MiB free, 64 MiB needed; /srv/site: 390 MiB free, 64 MiB needed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, Result{Verdict: test.verdict, Detail: test.detail}, disks(test.releases).Check(t.Context()))
		})
	}
}

func TestMissingDiskIsNotReady(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	result := Disk{Paths: []string{missing}, Statfs: unix.Statfs}.Check(t.Context())
	require.Equal(t, Result{Detail: missing + ": no such file or directory"}, result)
}

func TestFullDiskIsNotReady(t *testing.T) {
	disk := disktest.Small(t)
	result := Disk{Paths: []string{disk}, Statfs: unix.Statfs}.Check(t.Context())
	require.Equal(t, Result{Detail: disk + ": 1 MiB free, 64 MiB needed"}, result)
}
