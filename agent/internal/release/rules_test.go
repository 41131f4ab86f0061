package release

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReleaseWithInvalidRulesIsRejected(t *testing.T) {
	for name, text := range map[string]string{
		"_redirects": "/a /b\n/old\n",
		"_headers":   "/*\n  X-Fine: 1\n  not a header\n",
	} {
		t.Run(name, func(t *testing.T) {
			s, web := newWebServer(t)
			first := firstBuild()
			s.upload(first)
			s.mustPull()
			s.upload(first.With(name, text))
			refused := s.pullFails()
			require.Contains(t, refused, "cannot apply the site's rules: "+name+" line ")
			require.Contains(t, refused, "; correct them and run pulumi up")
			s.requireServed(first)
			require.Equal(t, []string{first.ID()}, s.releases())
			require.Equal(t, 1, web.reloads)

			fixed := first.With(name, "# none\n")
			s.upload(fixed)
			s.mustPull()
			require.Equal(t, fixed.ID(), web.served)
		})
	}
}

func TestChangedConfigurationIsRepaired(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, s *server, dir string){
		"changed": func(t *testing.T, _ *server, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "server.conf"), []byte("return 200;"), 0o644))
		},
		"removed": func(t *testing.T, _ *server, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "http.conf")))
		},
		"extra": func(t *testing.T, _ *server, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "own.conf"), nil, 0o644))
		},
		"another HSTS": func(t *testing.T, s *server, _ string) {
			releases, err := OpenReleases(s.dir, "max-age=0")
			require.NoError(t, err)
			s.pull.Releases = releases
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, web := newWebServer(t)
			build := firstBuild().With("_redirects", "/old /new\n")
			s.upload(build)
			s.mustPull()
			damage(t, s, s.file(build, "../nginx"))
			s.age(time.Minute)
			s.mustPull()
			require.Contains(t, s.journal.String(), `msg="repaired release"`)
			require.Equal(t, 2, web.reloads)
			_, err := s.pull.Releases.Check(t.Context(), build.ID(), true, s.pull.Limits)
			require.NoError(t, err)
		})
	}
}

func TestConfigurationNamesFinalDirectoryOfRelease(t *testing.T) {
	s := newServer(t)
	build := firstBuild()
	s.upload(build)
	s.mustPull()
	text, err := os.ReadFile(s.file(build, "../nginx/server.conf"))
	require.NoError(t, err)
	require.Contains(t, string(text), filepath.Join(s.dir, "releases", build.ID(), "site"))
	require.NotContains(t, string(text), temporaryMark)
	http, err := os.ReadFile(s.file(build, "../nginx/http.conf"))
	require.NoError(t, err)
	require.Contains(t, string(http), "max-age=63072000")
}
