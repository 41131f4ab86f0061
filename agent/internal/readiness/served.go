package readiness

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/release"
	"immutable-infra/agent/internal/web"
	"immutable-infra/server/manifest"
	"immutable-infra/server/rules"
)

// enoughProblems is how many problems end the comparison: the cause is clear by then.
const enoughProblems = 5

// Served checks that the web server serves the release in the content bucket, and each static file of it
// unchanged.
//
// It requests no dynamic page: the site's own programs may fail, and that must not keep the server from going
// live.
type Served struct {
	Bucket   *bucket.Bucket
	Releases *release.Releases
	Limits   manifest.Limits
	// Web is the site on this server.
	Web *web.Client
	// Project is the directory of compose.yaml, for the web server's log.
	Project string
	// PullService is the systemd unit that downloads releases, for its log.
	PullService string
	// FilesEvery is the time after which the files of a release that passed are requested again. Default: 0, each time.
	FilesEvery time.Duration

	// The last manifest and its ETag, so that a wait downloads it once.
	manifest manifest.Manifest
	etag     string
	// passed is the last release that passed, how many of its files were checked, and when.
	passed struct {
		release string
		files   int
		at      time.Time
	}
}

func (s *Served) Name() string { return "release" }

// Check must not be called concurrently.
func (s *Served) Check(ctx context.Context) Result {
	if err := s.fetchManifest(ctx); err != nil {
		return failed(err)
	}
	id := s.manifest.ID()
	current, err := s.Releases.Current()
	if err != nil {
		return failed(err)
	}
	if current != id {
		has := "no release is on this server yet"
		if current != "" {
			has = "this server has " + current
		}
		return fail(fmt.Sprintf("%s, the content bucket has %s", has, id), unitLog(s.PullService))
	}
	named, err := s.Web.Release(ctx)
	if err == nil && named != id {
		err = fmt.Errorf("%s names release %q instead of %s", web.ReleasePath, named, id)
	}
	if err != nil {
		return failed(err, projectLog(s.Project))
	}
	if s.passed.release == id && time.Since(s.passed.at) < s.FilesEvery {
		return s.pass(id)
	}
	siteRules, err := s.Releases.Rules(id)
	if err != nil {
		return failed(err)
	}
	files, problems := s.checkFiles(ctx, siteRules)
	if len(problems) > 0 {
		detail := strings.Join(problems, "; ")
		if len(problems) >= enoughProblems {
			detail += "; perhaps more"
		}
		return fail(detail, projectLog(s.Project))
	}
	s.passed.release, s.passed.files, s.passed.at = id, files, time.Now()
	return s.pass(id)
}

func (s *Served) pass(id string) Result {
	return pass(fmt.Sprintf("%s: every static file is served with the bucket's bytes (files: %d)", id, s.passed.files))
}

func (s *Served) fetchManifest(ctx context.Context) error {
	list, etag, err := release.FetchManifest(ctx, s.Bucket, s.etag, s.Limits)
	if errors.Is(err, bucket.ErrNotModified) {
		return nil
	}
	if err != nil {
		return err
	}
	s.manifest, s.etag = list, etag
	return nil
}

// checkFiles requests every static file of the release. It returns their number and their problems,
// sorted.
func (s *Served) checkFiles(ctx context.Context, siteRules rules.Rules) (files int, problems []string) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.SetLimit(web.ParallelRequests)
	var mutex sync.Mutex
	for name, digest := range s.manifest.Files() {
		path, static := servedAt(name)
		if !static || siteRules.Forced(path) {
			continue
		}
		files++
		group.Go(func() error {
			problem := s.checkFile(ctx, path, digest)
			mutex.Lock()
			defer mutex.Unlock()
			// Requests that were cancelled after enough problems are not the web server's fault.
			if problem != "" && len(problems) < enoughProblems {
				problems = append(problems, problem)
			}
			if len(problems) == enoughProblems {
				stop()
			}
			return nil
		})
	}
	// Never fails: the failures of requests are among the problems.
	_ = group.Wait()
	slices.Sort(problems)
	return files, problems
}

// program matches at least the names of files that PHP could run or include in some configuration. The web server
// runs them or rejects the request.
var program = regexp.MustCompile(`(?i)\.(ph(p|t|ar)|inc)`)

// ownName matches paths that are reserved for the server. No build contains them today.
var ownName = regexp.MustCompile(`^\.well-known/(release|server|acme-challenge)(/|$)`)

// servedAt returns the URL path at which a file of the site is served unchanged. static is false for other files:
// programs, hidden files, the site's rules, the error page, and reserved paths.
func servedAt(name string) (urlPath string, static bool) {
	public, _ := strings.CutPrefix(name, ".well-known/")
	switch {
	case program.MatchString(name), strings.HasPrefix(public, "."), strings.Contains(public, "/."):
		return "", false
	case slices.Contains([]string{rules.HeadersFile, rules.RedirectsFile, "404.html"}, name), ownName.MatchString(name):
		return "", false
	case path.Base(name) == "index.html":
		return "/" + strings.TrimSuffix(name, "index.html"), true
	default:
		return "/" + name, true
	}
}

// checkFile returns the problem of the file served at a path, or "".
func (s *Served) checkFile(ctx context.Context, path string, want manifest.Digest) string {
	response, err := s.Web.Get(ctx, path)
	if err != nil {
		return fmt.Sprintf("%s: %s", path, oneLine(err.Error()))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Sprintf("%s: status %s", path, response.Status)
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, response.Body); err != nil {
		return fmt.Sprintf("%s: %s", path, oneLine(err.Error()))
	}
	if manifest.Digest(hash.Sum(nil)) != want {
		return path + " has other bytes than in the bucket"
	}
	return ""
}
