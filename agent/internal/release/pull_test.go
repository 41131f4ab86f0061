package release

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/bucket/buckettest"
	"immutable-infra/agent/internal/disktest"
	"immutable-infra/agent/internal/release/releasetest"
	"immutable-infra/server/manifest"
)

type site = releasetest.Site

// server is a server under test: its disk, its bucket and its journal.
type server struct {
	*testing.T
	s3      *buckettest.Server
	pull    Pull
	dir     string
	journal *bytes.Buffer
}

// newServer returns a server that has booted and never pulled.
func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{T: t, s3: buckettest.Start(t), dir: filepath.Join(t.TempDir(), "site"), journal: &bytes.Buffer{}}
	content, err := bucket.Open(t.Context(), s.s3.Bucket, "")
	require.NoError(t, err)
	s.pull = Pull{
		Bucket:   content,
		Keep:     3,
		StateDir: t.TempDir(),
		Limits:   manifest.DefaultLimits(),
		Log: slog.New(slog.NewTextHandler(s.journal, &slog.HandlerOptions{
			ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr {
				if attr.Key == slog.TimeKey || attr.Key == "in" {
					return slog.Attr{}
				}
				return attr
			},
		})),
	}
	s.useDir(s.dir)
	return s
}

func (s *server) useDir(dir string) {
	s.Helper()
	releases, err := OpenReleases(dir, "max-age=63072000")
	require.NoError(s, err)
	s.dir = dir
	s.pull.Releases = releases
}

// upload uploads files, then the manifest, like a deploy.
func (s *server) upload(build site) {
	for name, content := range build {
		s.s3.Put("site/"+name, content)
	}
	s.s3.Put(manifest.Name, build.Manifest())
}

// run pulls once, as the timer does every few seconds.
func (s *server) run() error {
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	return s.pull.Run(ctx)
}

// mustPull pulls and expects success.
func (s *server) mustPull() {
	s.Helper()
	require.NoError(s, s.run())
	s.requireTidy()
}

// pullFails pulls, expects a failure, and returns the text of the error.
func (s *server) pullFails() string {
	s.Helper()
	err := s.run()
	require.Error(s, err)
	s.requireTidy()
	return err.Error()
}

// reboot empties the directory that is emptied at boot.
func (s *server) reboot() {
	s.Helper()
	require.NoError(s, os.RemoveAll(s.pull.StateDir))
	require.NoError(s, os.Mkdir(s.pull.StateDir, 0o755))
}

// age makes the records of runs older.
func (s *server) age(elapsed time.Duration) {
	s.Helper()
	paths, err := filepath.Glob(filepath.Join(s.pull.StateDir, "*"))
	require.NoError(s, err)
	for _, path := range paths {
		stat, err := os.Stat(path)
		require.NoError(s, err)
		at := stat.ModTime().Add(-elapsed)
		require.NoError(s, os.Chtimes(path, at, at))
	}
}

// requireServed checks that exactly this build is served.
func (s *server) requireServed(build site) {
	s.Helper()
	target, err := os.Readlink(filepath.Join(s.dir, "current"))
	require.NoError(s, err)
	require.Equal(s, "releases/"+build.ID(), target)
	served := site{}
	root := filepath.Join(s.dir, "current", "site")
	require.NoError(s, fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(root, name))
		served[name] = string(content)
		return err
	}))
	require.Equal(s, build, served)
	manifest, err := os.ReadFile(filepath.Join(s.dir, "current", "SHA256SUMS"))
	require.NoError(s, err)
	require.Equal(s, build.Manifest(), string(manifest))
}

// requireTidy checks that no unfinished file is left on disk.
func (s *server) requireTidy() {
	s.Helper()
	for _, pattern := range []string{"*.tmp-*", "releases/*.tmp-*"} {
		left, err := filepath.Glob(filepath.Join(s.dir, pattern))
		require.NoError(s, err)
		require.Empty(s, left)
	}
}

// releases returns the ids of the releases on disk.
func (s *server) releases() []string {
	s.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "releases"))
	require.NoError(s, err)
	var ids []string
	for _, entry := range entries {
		ids = append(ids, entry.Name())
	}
	return ids
}

// file returns the path of a file of a release on disk.
func (s *server) file(build site, name string) string {
	return filepath.Join(s.dir, "releases", build.ID(), "site", name)
}

// overwrite changes a file of a release in place, like a failing disk.
func (s *server) overwrite(build site, name, content string) {
	s.Helper()
	require.NoError(s, os.WriteFile(s.file(build, name), []byte(content), 0o644))
}

func firstBuild() site {
	return site{
		"index.html":            "front page, first",
		"404.html":              "Page not found",
		"posts/a b/ü+.html":     "a post",
		"assets/css/style.css":  "body {}",
		".well-known/empty.txt": "",
	}
}

func TestFirstPullServesUploadedBuild(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	s.requireServed(build)

	text, err := os.ReadFile(filepath.Join(s.dir, "current", "release.json"))
	require.NoError(t, err)
	var info Info
	require.NoError(t, json.Unmarshal(text, &info))
	require.Equal(t, Info{Release: build.ID(), Files: 5, Bytes: 44}, info)
	require.JSONEq(t, `{"release":"`+build.ID()+`","files":5,"bytes":44}`, string(text))
	require.Equal(t,
		`level=INFO msg="switched to release" release=`+build.ID()+" files=5 bytes=44 downloaded=44 from=none\n",
		s.journal.String())
}

func TestReleaseIsReadableByAllAndWritableByOwnerOnly(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o022)) // systemd's
	s := newServer(t)
	s.upload(firstBuild())
	s.mustPull()
	require.NoError(t,
		filepath.WalkDir(filepath.Join(s.dir, "releases"), func(path string, entry fs.DirEntry, err error) error {
			require.NoError(t, err)
			stat, err := entry.Info()
			require.NoError(t, err)
			want := fs.FileMode(0o644)
			if entry.IsDir() {
				want = 0o755
			}
			require.Equal(t, want, stat.Mode().Perm(), path)
			return nil
		}))
}

func TestUnchangedBucketCostsOneRequestAndNoLogLine(t *testing.T) {
	s := newServer(t)
	s.upload(firstBuild())
	s.mustPull()
	s.s3.TakeRequests()
	s.journal.Reset()

	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 304"}, s.s3.TakeRequests())
	require.Empty(t, s.journal.String())
}

func TestMissingETagCostsOneManifestAndNoSwitch(t *testing.T) {
	s := newServer(t)
	s.upload(firstBuild())
	s.mustPull()
	require.NoError(t, os.Remove(filepath.Join(s.dir, "manifest.etag")))
	s.s3.TakeRequests()
	s.journal.Reset()

	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 200"}, s.s3.TakeRequests())
	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 304"}, s.s3.TakeRequests())
	require.Empty(t, s.journal.String())
}

func TestEditedPostDownloadsOnlyThatPost(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	s.s3.TakeRequests()

	second := first.With("posts/a b/ü+.html", "a better post")
	s.upload(second)
	s.mustPull()
	s.requireServed(second)
	require.Equal(t, []string{"GET SHA256SUMS 200", "GET site/posts/a b/ü+.html 200", "HEAD site/posts/a b/ü+.html 200"},
		s.s3.TakeRequests())
	require.Contains(t, s.journal.String(), "release="+second.ID()+" files=5 bytes=51 downloaded=13 from="+first.ID())

	// The unchanged file is on the disk only once.
	one, err := os.Stat(s.file(first, "index.html"))
	require.NoError(t, err)
	two, err := os.Stat(s.file(second, "index.html"))
	require.NoError(t, err)
	require.True(t, os.SameFile(one, two))
}

func TestFileDeletedFromBuildIsNoLongerServed(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()

	second := firstBuild()
	delete(second, "posts/a b/ü+.html")
	s.upload(second)
	s.mustPull()
	s.requireServed(second)
}

// During a deploy, site/ has files of the next build, and SHA256SUMS is still the previous one.
func TestPullDuringSyncServesOldReleaseAndSucceedsLater(t *testing.T) {
	first := firstBuild()
	second := first.With("index.html", "front page, second").With("new.html", "new").With("404.html", "gone")

	t.Run("server that already serves a release", func(t *testing.T) {
		s := newServer(t)
		s.upload(first)
		s.mustPull()
		s.s3.Put("site/index.html", second["index.html"])
		s.mustPull()
		s.requireServed(first)
		s.upload(second)
		s.mustPull()
		s.requireServed(second)
	})
	t.Run("manifest of a build whose file was changed again", func(t *testing.T) {
		s := newServer(t)
		s.upload(first)
		s.mustPull()
		s.upload(second)
		s.s3.Put("site/index.html", "front page, third")
		require.Contains(t, s.pullFails(), "s3://content/site/index.html has SHA-256 ")
		s.requireServed(first)
		require.Equal(t, []string{first.ID()}, s.releases())

		third := second.With("index.html", "front page, third")
		s.upload(third)
		s.mustPull()
		s.requireServed(third)
	})
	t.Run("manifest of a build whose file was deleted", func(t *testing.T) {
		s := newServer(t)
		s.upload(first)
		s.mustPull()
		s.upload(second)
		s.s3.Delete("site/new.html")
		require.Contains(t, s.pullFails(),
			"get s3://content/site/new.html: not found (NoSuchKey: NoSuchKey in words): the build is not complete in the "+
				"bucket: run pulumi up, unless one is running")
		s.requireServed(first)

		s.upload(second)
		s.age(firstRetry)
		s.mustPull()
		s.requireServed(second)
	})
	t.Run("new server", func(t *testing.T) {
		s := newServer(t)
		s.upload(first)
		s.s3.Put("site/index.html", second["index.html"])
		require.Contains(t, s.pullFails(), "run pulumi up, unless one is running")
		require.NoFileExists(t, filepath.Join(s.dir, "current"))
		s.upload(second)
		s.mustPull()
		s.requireServed(second)
	})
}

func TestInvalidManifestLeavesServedReleaseUnchanged(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"no front page": site{"about.html": "x"}.Manifest(),
		"traversal":     site{"index.html": "x", "../../../../etc/cron.d/x": "x"}.Manifest(),
		"prose":         "<html></html>\n",
		"too large":     strings.Repeat("x", 2000),
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.pull.Limits.ManifestBytes = 1000
			build := firstBuild()
			s.upload(build)
			s.mustPull()
			s.s3.Put(manifest.Name, text)
			require.Contains(t, s.pullFails(), "s3://content/SHA256SUMS is refused: SHA256SUMS")
			s.requireServed(build)

			next := build.With("index.html", "fixed")
			s.upload(next)
			s.mustPull()
			s.requireServed(next)
		})
	}
}

func TestBuildAboveTheSizeLimitIsRejected(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	s.pull.Limits.Bytes = 1000
	s.upload(first.With("film.mp4", strings.Repeat("x", 990)))
	require.Contains(t, s.pullFails(),
		"the build has 1034 bytes, and at most 1000 bytes are accepted: make the site smaller and run pulumi up")
	s.requireServed(first)
}

func TestEmptyBucketAndMissingPermissionDiffer(t *testing.T) {
	s := newServer(t)
	require.Equal(t,
		"no build has been uploaded yet: get s3://content/SHA256SUMS: not found (NoSuchKey: NoSuchKey in words)",
		s.pullFails())

	s.s3.Deny()
	require.Equal(t, "get s3://content/SHA256SUMS: access denied (AccessDenied: AccessDenied in words): "+
		"allow this server's role s3:GetObject on the bucket's objects and s3:ListBucket on the bucket", s.pullFails())
}

func TestDeletedManifestLeavesServedReleaseUnchanged(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	s.s3.Delete(manifest.Name)
	require.Contains(t, s.pullFails(), "no build has been uploaded yet")
	s.requireServed(build)
}

func TestInterruptedPullLeavesServedReleaseUnchanged(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	second := site{"index.html": "front page, second"}
	for i := range 50 {
		second[fmt.Sprintf("%d.html", i)] = fmt.Sprint("page ", i)
	}
	s.upload(second)
	ctx, stop := context.WithCancel(t.Context())
	var answered atomic.Int32
	s.s3.OnGet(func(string, *http.Request) {
		if answered.Add(1) == 20 {
			stop()
		}
	})
	require.ErrorIs(t, s.pull.Run(ctx), context.Canceled)
	s.requireTidy()
	s.requireServed(first)
	require.Equal(t, []string{first.ID()}, s.releases())

	s.mustPull()
	s.requireServed(second)
}

// Without a download, no transfer notices that the run was canceled.
func TestBuildInterruptedBetweenFilesIsIncomplete(t *testing.T) {
	s := newServer(t)
	list, err := manifest.Parse([]byte(firstBuild().Manifest()), manifest.DefaultLimits())
	require.NoError(t, err)
	build, err := s.pull.Releases.NewBuild(list, manifest.DefaultLimits())
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.ErrorIs(t, build.Fill(ctx, s.pull.Bucket, nil, 0), context.Canceled)
	require.NoError(t, build.Discard())
	s.requireTidy()
}

func TestOnlyFilesOfKilledRunAreRemoved(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "releases", build.ID()+".tmp-123", "site"), 0o700))
	require.NoError(t, os.Symlink("releases/x", filepath.Join(s.dir, "current.tmp-"+build.ID())))
	other := filepath.Join(s.dir, "notes.tmp-mine")
	require.NoError(t, os.WriteFile(other, nil, 0o644))

	require.NoError(t, s.run())
	s.requireServed(build)
	require.Equal(t, []string{build.ID()}, s.releases())
	require.NoFileExists(t, filepath.Join(s.dir, "current.tmp-"+build.ID()))
	require.FileExists(t, other)
}

func TestRollingBackToAnEarlierBuildDownloadsNothing(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	second := first.With("index.html", "front page, second")
	s.upload(first)
	s.mustPull()
	s.upload(second)
	s.mustPull()
	s.s3.TakeRequests()

	s.upload(first)
	s.mustPull()
	s.requireServed(first)
	require.Equal(t, []string{"GET SHA256SUMS 200"}, s.s3.TakeRequests())
	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 304"}, s.s3.TakeRequests())
}

func TestRollbackToDamagedReleaseRepairsItFirst(t *testing.T) {
	damages := map[string]func(t *testing.T, s *server, build site){
		"wrong bytes":  func(_ *testing.T, s *server, b site) { s.overwrite(b, "index.html", "front page, fi\x00st") },
		"missing file": func(t *testing.T, s *server, b site) { require.NoError(t, os.Remove(s.file(b, "index.html"))) },
		"extra file":   func(_ *testing.T, s *server, b site) { s.overwrite(b, "index.html.bak", "") },
		"missing manifest": func(t *testing.T, s *server, b site) {
			require.NoError(t,
				os.Remove(s.file(b, "../SHA256SUMS")))
		},
		"other manifest": func(_ *testing.T, s *server, b site) {
			s.overwrite(b, "../SHA256SUMS",
				b.With("x", "").Manifest())
		},
		"empty info": func(_ *testing.T, s *server, b site) { s.overwrite(b, "../release.json", "") },
		"empty release": func(t *testing.T, s *server, b site) {
			require.NoError(t, os.RemoveAll(s.file(b, "../")))
			require.NoError(t, os.Mkdir(s.file(b, "../"), 0o755))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			first := firstBuild()
			second := first.With("index.html", "front page, second")
			s.upload(first)
			s.mustPull()
			s.upload(second)
			s.mustPull()
			damage(t, s, first)

			s.upload(first)
			s.mustPull()
			s.requireServed(first)
			require.Contains(t, s.journal.String(), "a release on disk is damaged and will be replaced")
		})
	}
}

func TestDamagedFilesAreRepairedAtTheNextBoot(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	s.overwrite(build, "404.html", "Page nxt found")
	s.mustPull()

	s.reboot()
	s.s3.TakeRequests()
	s.mustPull()
	s.requireServed(build)
	require.Equal(t, []string{"GET SHA256SUMS 200", "GET site/404.html 200", "HEAD site/404.html 200"},
		s.s3.TakeRequests())
	require.Contains(t, s.journal.String(), `msg="repaired release" release=`+build.ID())

	s.mustPull()
	require.Equal(t, []string{"GET SHA256SUMS 304"}, s.s3.TakeRequests())
}

func TestVerifyRepairsDamagedFilesWithoutABoot(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	s.overwrite(build, "404.html", "Page nxt found")
	s.pull.Verify = true
	s.mustPull()
	s.requireServed(build)
}

func TestDamagedFilesAreNotLinkedIntoTheNextRelease(t *testing.T) {
	s := newServer(t)
	first := firstBuild()
	s.upload(first)
	s.mustPull()
	s.overwrite(first, "404.html", "Page nxt found")
	second := first.With("index.html", "front page, second")
	s.upload(second)
	s.mustPull()
	s.requireServed(second)
}

func TestReleaseThatLostAFileIsRepairedWithinAMinute(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *server, build site){
		"deleted":       func(t *testing.T, s *server, b site) { require.NoError(t, os.Remove(s.file(b, "404.html"))) },
		"truncated":     func(_ *testing.T, s *server, b site) { s.overwrite(b, "404.html", "") },
		"whole release": func(t *testing.T, s *server, b site) { require.NoError(t, os.RemoveAll(s.file(b, ".."))) },
		"symlink": func(t *testing.T, s *server, b site) {
			require.NoError(t, os.Remove(s.file(b, "404.html")))
			require.NoError(t, os.Symlink("/etc/passwd", s.file(b, "404.html")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			build := firstBuild()
			s.upload(build)
			s.mustPull()
			damage(t, s, build)
			s.age(time.Minute)
			s.mustPull()
			s.requireServed(build)
		})
	}
}

func TestInvalidCurrentLinkIsReplaced(t *testing.T) {
	for _, target := range []string{"releases/0000000000000000", "/nowhere", "releases/..", "releases"} {
		t.Run(target, func(t *testing.T) {
			s := newServer(t)
			require.NoError(t, os.Symlink(target, filepath.Join(s.dir, "current")))
			build := firstBuild()
			s.upload(build)
			s.mustPull()
			s.requireServed(build)
		})
	}
}

func TestDirectoryNamedCurrentIsNotTouched(t *testing.T) {
	s := newServer(t)
	s.upload(firstBuild())
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "current"), 0o755))
	require.Equal(t, filepath.Join(s.dir, "current")+" is not a symlink: move it out of the way", s.pullFails())
}

func TestDamagedReleaseIsServedWhileBucketIsUnreachable(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	s.overwrite(build, "404.html", "Page nxt found")
	s.reboot()
	s.s3.Deny()
	require.Contains(t, s.pullFails(), "access denied")
	front, err := os.ReadFile(filepath.Join(s.dir, "current", "site", "index.html"))
	require.NoError(t, err)
	require.Equal(t, build["index.html"], string(front))
}

func TestOldReleasesArePrunedByLastUse(t *testing.T) {
	s := newServer(t)
	s.pull.Keep = 2
	var builds []site
	for i := range 5 {
		builds = append(builds, firstBuild().With("index.html", fmt.Sprint("version ", i)))
	}
	for _, i := range []int{0, 1, 0, 2, 3} {
		s.upload(builds[i])
		s.mustPull()
	}
	require.ElementsMatch(t, []string{builds[3].ID(), builds[2].ID(), builds[0].ID()}, s.releases())

	s.upload(builds[4])
	s.mustPull()
	require.ElementsMatch(t, []string{builds[4].ID(), builds[3].ID(), builds[2].ID()}, s.releases())
	s.requireServed(builds[4])
}

// A reader that resolves `current` once, like a web server for each request, finds a complete
// release at any time.
func TestVisitorsNeverSeeIncompleteRelease(t *testing.T) {
	const versions = 30
	s := newServer(t)
	s.pull.Keep = versions
	build := func(i int) site {
		return firstBuild().With("index.html", fmt.Sprint(i)).With("version.txt", fmt.Sprint(i))
	}
	s.upload(build(0))
	s.mustPull()

	done := make(chan struct{})
	var readers sync.WaitGroup
	var reads, seen atomic.Int64
	failures := make(chan error, 4)
	for range cap(failures) {
		readers.Go(func() {
			last := ""
			for {
				select {
				case <-done:
					return
				default:
				}
				version, err := readPair(filepath.Join(s.dir, "current", "site"))
				if err != nil {
					failures <- err
					return
				}
				reads.Add(1)
				if version != last {
					seen.Add(1)
					last = version
				}
			}
		})
	}
	for i := 1; i < versions; i++ {
		s.upload(build(i))
		s.mustPull()
		if i%10 == 0 {
			// Back to a release that is on disk.
			s.upload(build(i - 5))
			s.mustPull()
		}
	}
	close(done)
	readers.Wait()
	close(failures)
	for err := range failures {
		require.NoError(t, err)
	}
	require.Greater(t, seen.Load(), int64(versions/2), "the readers must have run during the switches")
	t.Logf("%d reads, %d changes seen", reads.Load(), seen.Load())
}

// readPair reads two files of a site that must be of the same version.
func readPair(path string) (string, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return "", err
	}
	one, err := root.ReadFile("index.html")
	if err != nil {
		return "", errors.Join(err, root.Close())
	}
	two, err := root.ReadFile("version.txt")
	if err != nil {
		return "", errors.Join(err, root.Close())
	}
	if string(one) != string(two) {
		return "", errors.Join(fmt.Errorf("index.html is of version %s, version.txt of %s", one, two), root.Close())
	}
	return string(one), root.Close()
}

// While a damaged current release is repaired in place, the link never dangles.
func TestCurrentNeverDanglesDuringRepair(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	done := make(chan struct{})
	failure := make(chan error, 1)
	go func() {
		defer close(failure)
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := os.Stat(filepath.Join(s.dir, "current", "site", "index.html")); err != nil {
				failure <- err
				return
			}
		}
	}()
	for range 10 {
		s.overwrite(build, "404.html", "")
		s.age(time.Minute)
		s.mustPull()
	}
	close(done)
	require.NoError(t, <-failure)
}

func TestConcurrentPullsBuildTheReleaseOnce(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	begun := make(chan struct{})
	gate := make(chan struct{})
	openGate := sync.OnceFunc(func() { close(gate) })
	defer openGate()
	var once sync.Once
	s.s3.OnGet(func(string, *http.Request) {
		once.Do(func() { close(begun) })
		<-gate
	})
	results := make(chan error, 2)
	go func() { results <- s.run() }()
	select {
	case <-begun:
	case err := <-results:
		require.NoError(t, err)
	}

	// A waiting run stops on request.
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	require.ErrorContains(t, s.pull.Run(ctx), "cannot wait for another run to end: context deadline exceeded")

	go func() { results <- s.run() }()
	openGate()
	require.NoError(t, <-results)
	require.NoError(t, <-results)
	s.requireServed(build)
	require.Len(t, s.s3.TakeRequests(), 2*len(build)+2)
	require.Equal(t, 1, strings.Count(s.journal.String(), "switched to release"))
}

// A release that is too large for the disk is rejected before it fills the disk.
func TestReleaseTooLargeForDiskIsRejectedBeforeDownload(t *testing.T) {
	disk := disktest.Small(t)
	for name, files := range map[string]int{"sizes requested one by one": 1, "sizes listed": fewFiles + 1} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.useDir(filepath.Join(disk, fmt.Sprint(files)))
			s.pull.Reserve = 1 << 19
			first := firstBuild()
			s.upload(first)
			s.mustPull()
			s.s3.TakeRequests()

			second := first
			for i := range files {
				second = second.With(fmt.Sprintf("film-%d.mp4", i), strings.Repeat("x", (600<<10)/files))
			}
			s.upload(second)
			require.Regexp(t,
				`^the release needs \d{6} bytes, and \S+ has (1\.0 MiB|\d+ bytes) free, of which 524288 bytes must stay free: `+
					"make the site smaller, or set a larger rootVolumeSize and run pulumi up$", s.pullFails())
			s.requireServed(first)
			for _, request := range s.s3.TakeRequests() {
				require.NotContains(t, request, "GET site/film")
			}

			s.pull.Reserve = 1 << 17
			s.age(lastRetry)
			s.mustPull()
			s.requireServed(second)
			require.NoError(t, os.RemoveAll(s.dir))
		})
	}
}

func TestFullDiskLeavesServedReleaseUnchanged(t *testing.T) {
	disk := disktest.Small(t)
	s := newServer(t)
	s.useDir(disk)
	first := firstBuild()
	s.upload(first)
	s.mustPull()

	// The sizes do not include directories.
	full := first
	for i := range 300 {
		full = full.With(fmt.Sprintf("%d/index.html", i), strings.Repeat("x", 2<<10))
	}
	s.upload(full)
	require.Contains(t, s.pullFails(), "no space left on device")
	s.requireServed(first)

	second := first.With("film.mp4", strings.Repeat("x", 1<<19))
	s.upload(second)
	s.mustPull()
	s.requireServed(second)
}
