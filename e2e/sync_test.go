package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/publisher"
	"immutable-infra/e2e/internal/s3server"
)

const contentBucket = "content"

// TestSync builds and syncs with the real program to a real S3 server.
func TestSync(t *testing.T) {
	server := s3server.Start(t, contentBucket)
	p := publisher.New(t, root(t).dir, server, contentBucket)
	p.Write(t, "index.html", "front")
	p.Write(t, "about.html", "about")
	publish := func(t *testing.T) string {
		t.Helper()
		built, _, err := p.Run(t, "build")
		require.NoError(t, err)
		synced, _, err := p.Run(t, "sync")
		require.NoError(t, err)
		require.Equal(t, built, synced)
		require.Regexp(t, `^[0-9a-f]{16}\n$`, synced, "standard output has only the release")
		return synced
	}
	first := publish(t)
	objects := server.Objects(t, contentBucket, "")
	require.Len(t, objects, 3)

	t.Run("uploads carry no ACL header, which a bucket with ownership enforced refuses", func(t *testing.T) {
		var uploads atomic.Int32
		server.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			for name := range r.Header {
				if name = strings.ToLower(name); strings.Contains(name, "acl") || strings.Contains(name, "grant") {
					t.Errorf("%s %s has the header %s", r.Method, r.URL, name)
				}
			}
			if r.Method == http.MethodPut {
				uploads.Add(1)
			}
			return false
		})
		defer server.Intercept(nil)
		p.Write(t, "index.html", "another front")
		publish(t)
		require.EqualValues(t, 2, uploads.Load())
		p.Write(t, "index.html", "front")
		require.Equal(t, first, publish(t))
	})

	t.Run("a rollback repairs an interrupted sync", func(t *testing.T) {
		for _, name := range []string{"index.html", "about.html", "a.html", "b.html"} {
			p.Write(t, name, "half of this is uploaded")
		}
		_, _, err := p.Run(t, "build")
		require.NoError(t, err)
		environment := p.Environment
		p.Environment = append(slices.Clone(environment), "AWS_ENDPOINT_URL_S3="+brokenStore(t, server.URL, ""))
		_, _, err = p.Run(t, "sync")
		p.Environment = environment
		require.ErrorContains(t, err, "403 Forbidden")
		require.NotEqual(t, objects, server.Objects(t, contentBucket, ""), "the sync did not get far enough for this test")

		p.Write(t, "index.html", "front")
		p.Write(t, "about.html", "about")
		require.NoError(t, os.Remove(filepath.Join(p.Site, "a.html")))
		require.NoError(t, os.Remove(filepath.Join(p.Site, "b.html")))
		require.Equal(t, first, publish(t))
		require.Equal(t, objects, server.Objects(t, contentBucket, ""))
	})

	t.Run("the bucket has the bytes of the names that the build has", func(t *testing.T) {
		names := []string{
			"caf\u00e9.html", "cafe\u0301.html", "A.html", "a.html", "q?.html", "100%.html", "a b.html", "ａ／ｂ．html", "dots...",
			"%41.html",
			"+.html", "\U0001f600", "a&b=c;d", "'\"<>", "*", "dir./file", " leading", "trailing ", "~", "．", "‛", "a:b|c",
		}
		for _, name := range names {
			p.Write(t, name, name)
		}
		publish(t)
		for _, name := range names {
			content, err := os.ReadFile(server.Path(contentBucket, "site/"+name))
			require.NoError(t, err)
			require.Equal(t, name, string(content))
		}
		server.Take()
		publish(t)
		require.Zero(t, server.Take().Requests[http.MethodPut], "a listing returns the same names")

		renamed := filepath.Join(p.Site, "cafe\u0301.html")
		require.NoError(t, os.Rename(renamed, filepath.Join(p.Site, "nai\u0308ve.html")))
		require.NoError(t, os.Rename(filepath.Join(p.Site, "caf\u00e9.html"), renamed))
		publish(t)
		found := server.Objects(t, contentBucket, "site/")
		require.NotContains(t, found, "site/caf\u00e9.html")
		require.Contains(t, found, "site/cafe\u0301.html")
		require.Contains(t, found, "site/nai\u0308ve.html")
		for _, name := range append(names[2:], "cafe\u0301.html", "nai\u0308ve.html") {
			require.NoError(t, os.RemoveAll(filepath.Join(p.Site, name)))
		}
		require.Equal(t, first, publish(t))
	})

	t.Run("a new clone builds before it syncs", func(t *testing.T) {
		require.NoError(t, os.RemoveAll(filepath.Join(p.Dir, ".build")))
		synced, _, err := p.Run(t, "sync")
		require.NoError(t, err)
		require.Equal(t, first, synced)
	})

	t.Run("the build sees no key, no open file, and nothing on standard input", func(t *testing.T) {
		secret, err := os.Create(filepath.Join(t.TempDir(), "secret"))
		require.NoError(t, err)
		defer secret.Close()
		p.Inherited = []*os.File{secret}
		p.Environment = append(p.Environment, "PULUMI_CONFIG_PASSPHRASE=a-secret", "GITHUB_TOKEN=a-secret",
			"ACTIONS_ID_TOKEN_REQUEST_TOKEN=a-secret")
		p.Command = `mkdir _site; { env; ls -l /proc/self/fd; cat; } >_site/index.html`
		_, _, err = p.Run(t, "build")
		require.NoError(t, err)
		seen, err := os.ReadFile(filepath.Join(p.Dir, ".build", "test", "site", "index.html"))
		require.NoError(t, err)
		require.Contains(t, string(seen), "JEKYLL_ENV=production\n")
		for _, word := range []string{"secret", "AWS_", "PULUMI_", "GITHUB_", "ACTIONS_", s3server.AccessKey} {
			require.NotContains(t, string(seen), word)
		}
	})
}
