package readiness

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/release"
	"immutable-infra/server/manifest"
)

const (
	// parallelRequests is how many files are asked for at once.
	parallelRequests = 8
	// requestTimeout bounds one request, its body included. The server is this
	// machine.
	requestTimeout = time.Minute
	// headerTimeout bounds the wait for an answer to begin.
	headerTimeout = 10 * time.Second
	// enoughProblems ends the comparison: what is wrong is plain by then.
	enoughProblems = 5
	// markerBytes is the most that is read of /.well-known/release.
	markerBytes = 4 << 10
)

// Served is the check that the site's front serves the release that the content
// bucket holds, every file with its bytes, and that PHP files run.
type Served struct {
	// Bucket is the content bucket.
	Bucket *bucket.Bucket
	// Releases is what the agent has on disk.
	Releases *release.Releases
	Limits   manifest.Limits
	// URL is the address of the site's front on this server, without a path.
	URL *url.URL
	// Host is the site's name, by which it is asked for.
	Host string
	// Project is the directory of compose.yaml, for the web server's log.
	Project string
	// PullService is the systemd unit that brings releases, for its log.
	PullService string

	// The manifest that was read last, with its ETag: a wait reads it once.
	manifest manifest.Manifest
	etag     string
	client   *http.Client
}

// Name implements Check.
func (s *Served) Name() string { return "release" }

// Look implements Check. Looks must not overlap.
func (s *Served) Look(ctx context.Context) Finding {
	if s.client == nil {
		s.client = newClient(s.Host)
	}
	if err := s.fetchManifest(ctx); err != nil {
		return Finding{Detail: oneLine(err.Error())}
	}
	id := s.manifest.ID()
	current, err := s.Releases.Current()
	if err != nil {
		return Finding{Detail: oneLine(err.Error())}
	}
	if current != id {
		has := "no release is on this server yet"
		if current != "" {
			has = "this server has " + current
		}
		return Finding{
			Detail: fmt.Sprintf("%s, the content bucket has %s", has, id),
			Logs:   []Log{unitLog(s.PullService)},
		}
	}
	if problem := s.checkMarker(ctx, id); problem != "" {
		return Finding{Detail: problem, Logs: []Log{projectLog(s.Project)}}
	}
	files, scripts, problems := s.checkFiles(ctx)
	if len(problems) > 0 {
		detail := strings.Join(problems, "; ")
		if len(problems) >= enoughProblems {
			detail += "; perhaps more"
		}
		return Finding{Detail: detail, Logs: []Log{projectLog(s.Project)}}
	}
	detail := fmt.Sprintf("%s: every file is served as it is in the bucket (files: %d)", id, files)
	if scripts > 0 {
		detail += fmt.Sprintf(", PHP runs (files: %d)", scripts)
	}
	return Finding{Verdict: Holds, Detail: detail}
}

// newClient asks this machine for a site: past any proxy, without following
// redirects, which are not the file that was asked for, and for the bytes as they are.
// Who vouches for the certificate is looked at elsewhere: the first server of all
// has none yet.
func newClient(host string) *http.Client {
	return &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{ServerName: host, InsecureSkipVerify: true},
			DisableCompression:    true,
			MaxIdleConnsPerHost:   parallelRequests,
			ResponseHeaderTimeout: headerTimeout,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetchManifest makes s.manifest the bucket's.
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

// checkMarker says what is wrong with the release that the web server says it
// serves, or "".
func (s *Served) checkMarker(ctx context.Context, id string) string {
	const marker = "/.well-known/release"
	var served release.Info
	problem := s.get(ctx, marker, func(body io.Reader) error {
		return json.NewDecoder(io.LimitReader(body, markerBytes)).Decode(&served)
	})
	switch {
	case problem != "":
		return problem
	case served.Release != id:
		return fmt.Sprintf("%s names release %q instead of %s", marker, served.Release, id)
	default:
		return ""
	}
}

// checkFiles asks for every file of the release by each of its paths. It
// returns the numbers of files that are served as they are and of those that run,
// and what is wrong with them, sorted.
func (s *Served) checkFiles(ctx context.Context) (files, scripts int, problems []string) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.SetLimit(parallelRequests)
	var mutex sync.Mutex
	check := func(look func() string) {
		group.Go(func() error {
			problem := look()
			mutex.Lock()
			defer mutex.Unlock()
			// Those that were called off when there were enough are not
			// the web server's fault.
			if problem != "" && len(problems) < enoughProblems {
				problems = append(problems, problem)
			}
			if len(problems) == enoughProblems {
				stop()
			}
			return nil
		})
	}
	for name, digest := range s.manifest.Files() {
		if runs(name) {
			scripts++
			check(func() string { return s.checkScript(ctx, "/"+name, digest) })
			continue
		}
		paths := servedAs(name)
		if len(paths) > 0 {
			files++
		}
		for _, path := range paths {
			check(func() string { return s.checkFile(ctx, path, digest) })
		}
	}
	// No request returns an error: what it found is among the problems.
	_ = group.Wait()
	slices.Sort(problems)
	return files, scripts, problems
}

// runs tells whether a file of the site is a program.
func runs(name string) bool { return strings.HasSuffix(name, ".php") }

// servedAs is the paths of the URLs by which a file of the site is served as it
// is. The root's 404.html is the answer to what is missing and cannot be asked for.
func servedAs(name string) []string {
	switch {
	case name == "404.html":
		return nil
	case path.Base(name) == "index.html":
		return []string{"/" + name, "/" + strings.TrimSuffix(name, "index.html")}
	default:
		return []string{"/" + name}
	}
}

// checkFile says what is wrong with what is served at a path, or "".
func (s *Served) checkFile(ctx context.Context, path string, want manifest.Digest) string {
	hash := sha256.New()
	problem := s.get(ctx, path, func(body io.Reader) error {
		_, err := io.Copy(hash, body)
		return err
	})
	if problem == "" && manifest.Digest(hash.Sum(nil)) != want {
		problem = path + " has other bytes than in the bucket"
	}
	return problem
}

// checkScript says what is wrong with a PHP file, or "". What it answers is its own
// affair, as long as that is not its source, and there is something that runs it.
func (s *Served) checkScript(ctx context.Context, path string, source manifest.Digest) string {
	return s.ask(ctx, path, func(response *http.Response) (problem string) {
		hash := sha256.New()
		if _, err := io.Copy(hash, response.Body); err != nil {
			return oneLine(err.Error())
		}
		switch {
		case manifest.Digest(hash.Sum(nil)) == source:
			return "its source is served, it does not run"
		case response.StatusCode >= http.StatusInternalServerError:
			return "status " + response.Status
		default:
			return ""
		}
	})
}

// get asks for a path and has read read the body of an answer with status 200. It
// says what went wrong, or "".
func (s *Served) get(ctx context.Context, path string, read func(io.Reader) error) string {
	return s.ask(ctx, path, func(response *http.Response) (problem string) {
		if response.StatusCode != http.StatusOK {
			return "status " + response.Status
		}
		if err := read(response.Body); err != nil {
			return oneLine(err.Error())
		}
		return ""
	})
}

// ask asks the site's front for a path, which is not escaped yet, and has judge look
// at the answer. It says what went wrong, after the path, or "".
func (s *Served) ask(ctx context.Context, path string, judge func(*http.Response) (problem string)) string {
	address := url.URL{Scheme: s.URL.Scheme, Host: s.URL.Host, Path: path}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return fmt.Sprintf("%s: %s", path, err)
	}
	request.Host = s.Host
	request.Header.Set("User-Agent", userAgent)
	response, err := s.client.Do(request)
	if err != nil {
		// Without the method and address that url.Error puts before it.
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return fmt.Sprintf("%s: %s", path, oneLine(err.Error()))
	}
	defer response.Body.Close()
	if problem := judge(response); problem != "" {
		return path + ": " + problem
	}
	return ""
}
