package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/e2e/internal/browser"
)

// realSite is one of the sites in the directory sites, which resemble real ones.
type realSite struct {
	name string
	// build is the site's own build command, or "".
	build string
	// generate adds files that are too large for a repository or have too unusual names.
	generate func(t *testing.T, dir string)
	// others are responses of other hosts, by URL prefix.
	others map[string]string
	// statuses are the statuses of pages that respond with an error on purpose.
	statuses map[string]int
	// dynamic are prefixes of paths that a plain server lacks: PHP and redirects.
	dynamic []string
	// pages are paths that no page links to and that have no file of the same name in the build.
	pages []string
}

// realSites returns all of them. The server is replaced with the last one.
func realSites() []realSite {
	player := map[string]string{
		"https://player.example/": "<!doctype html><title>Player</title>" +
			"<body style='background: teal; color: white'>A player",
	}
	return []realSite{
		{name: "theme", others: player},
		{name: "blog", others: player, dynamic: []string{"/go/", "/old/"}, pages: []string{"/go/?p=31", "/old/12.php"}},
		{name: "docs", build: "sh build.sh"},
		{name: "photos", generate: generatePhotos},
		{name: "unicode", generate: generateUnicode},
		{name: "pwa"},
		{name: "parent"},
		{name: "forms", dynamic: []string{"/api/"}, statuses: map[string]int{"/api/busy.php": 503, "/api/post.php": 405},
			pages: []string{
				"/api/busy.php", "/api/post.php", "/api/slow.php?seconds=1", "/api/visits.php", "/api/contact.php", "/kontakt",
			}},
	}
}

// copyTo copies the site, including generated files, into a directory that a test can write to.
func (s realSite) copyTo(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("sites", s.name))))
	if s.generate != nil {
		s.generate(t, dir)
	}
}

// unchecked reports whether a plain server of the site's files lacks a path.
func (s realSite) unchecked(path string) bool {
	for _, prefix := range s.dynamic {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// TestRealSitesAreWhole builds each site and visits it on a plain server, to separate errors of the site itself from
// errors of the project's server.
func TestRealSitesAreWhole(t *testing.T) {
	jekyll, err := exec.LookPath("jekyll")
	if err != nil || !browser.Installed() {
		t.Skip("needs Jekyll with its plugins, and Chromium: make test-sites installs them")
	}
	for _, site := range realSites() {
		t.Run(site.name, func(t *testing.T) {
			t.Parallel()
			source, built := t.TempDir(), t.TempDir()
			site.copyTo(t, source)
			build := exec.Command(jekyll, "build", "--quiet", "--destination", built)
			if site.build != "" {
				build = exec.Command("sh", "-c", site.build)
				built = filepath.Join(source, "_site")
			}
			build.Dir = source
			build.Env = append(os.Environ(), "JEKYLL_ENV=production", "LANG=C.UTF-8")
			output, err := build.CombinedOutput()
			if err != nil && strings.Contains(string(output), "cannot load such file") && os.Getenv("E2E") != "sites" {
				t.Skipf("needs Jekyll's plugins: make test-sites installs them\n%s", output)
			}
			require.NoError(t, err, string(output))

			served := httptest.NewServer(browser.FileServer(built))
			t.Cleanup(served.Close)
			visitor, stop, err := browser.Start(t.Context(), browser.Options{Others: site.others})
			require.NoError(t, err)
			t.Cleanup(stop)
			report, err := visitor.Crawl(t.Context(), browser.Site{
				URL: served.URL + "/", Aliases: []string{siteURL + "/"}, Client: http.DefaultClient, Dir: built,
				Unchecked: site.unchecked,
			})
			require.NoError(t, err)
			require.Empty(t, report.Problems)
			require.NotEmpty(t, report.Visited)
			t.Logf("%d pages, %d links", len(report.Visited), report.Links)
		})
	}
}

// generatePhotos creates two pictures in three sizes, a 12 MB archive and a 5 MB sound file.
func generatePhotos(t *testing.T, dir string) {
	t.Helper()
	photos := filepath.Join(dir, "photos")
	require.NoError(t, os.MkdirAll(photos, 0o755))
	for number, name := range []string{"dune", "harbour"} {
		for suffix, width := range map[string]int{"": 2400, "-800": 800, "-400": 400} {
			writeFile(t, filepath.Join(photos, name+suffix+".jpg"), jpegOf(t, width, uint64(number)))
		}
	}
	noise := make([]byte, 12<<20)
	source := rand.NewChaCha8([32]byte{1})
	_, err := source.Read(noise)
	require.NoError(t, err)
	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	entry, err := writer.CreateHeader(&zip.FileHeader{Name: "originals.raw", Method: zip.Store})
	require.NoError(t, err)
	_, err = entry.Write(noise)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	writeFile(t, filepath.Join(photos, "all.zip"), archive.Bytes())
	writeFile(t, filepath.Join(dir, "media", "waves.wav"), waves())
}

// jpegOf returns a picture with grain, like a camera's.
func jpegOf(t *testing.T, width int, seed uint64) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	picture := image.NewRGBA(image.Rect(0, 0, width, width*2/3))
	for y := range picture.Rect.Dy() {
		for x := range width {
			at := float64(x) / float64(width)
			shade := 120 + 60*math.Sin(9*at+float64(seed)*2+float64(y)/float64(width)*5) + 20*random.Float64()
			picture.SetRGBA(x, y, color.RGBA{R: uint8(shade), G: uint8(shade * 0.8), B: uint8(90 + 60*at), A: 255})
		}
	}
	var encoded bytes.Buffer
	require.NoError(t, jpeg.Encode(&encoded, picture, &jpeg.Options{Quality: 90}))
	return encoded.Bytes()
}

// waves returns a minute of sound in WAVE format.
func waves() []byte {
	const rate, seconds = 44100, 60
	samples := make([]int16, rate*seconds)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range samples {
		samples[i] = int16((random.Float64() - 0.5) * 8000 * math.Pow(math.Sin(float64(i)/rate), 2))
	}
	var file bytes.Buffer
	write := func(values ...any) {
		for _, value := range values {
			_ = binary.Write(&file, binary.LittleEndian, value) // to a buffer
		}
	}
	size := uint32(2 * len(samples))
	write([]byte("RIFF"), 36+size, []byte("WAVEfmt "), uint32(16), uint16(1), uint16(1), uint32(rate), uint32(2*rate),
		uint16(2), uint16(16), []byte("data"), size, samples)
	return file.Bytes()
}

// unicodeNames returns file names that people choose, including one in Unicode's decomposed form.
func unicodeNames() []string {
	return []string{
		"über", "Straße", "Cafe\u0301", "日本語", "🎈", "two words", "what?", "c#", "100%", "a+b", "salt & pepper", "it's",
		`"quoted"`, "(1)", "semi;colon", "co,mma", "at@home", "[brackets]", "a=b", "ﬁn", "$price", "bang!", "star*", "caret^",
		"{curly}", "back~tick`",
	}
}

// generateUnicode creates a page and a picture for each name. Not every file system could check these files out.
func generateUnicode(t *testing.T, dir string) {
	t.Helper()
	for number, name := range unicodeNames() {
		title, err := json.Marshal(name)
		require.NoError(t, err)
		page := fmt.Sprintf("---\nlayout: default\ntitle: %s\n---\nThe page with the number %d. Back to the [list](/).\n",
			title, number)
		writeFile(t, filepath.Join(dir, name+".md"), []byte(page))
		picture := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><rect width="10" height="10" fill="hsl(%d 50%% 60%%)"/></svg>`, number*14)
		writeFile(t, filepath.Join(dir, "Bilder", name+".svg"), []byte(picture))
	}
	// This folder's name is in the decomposed form.
	writeFile(t, filepath.Join(dir, "Menu\u0308s", "index.md"), []byte("---\nlayout: default\ntitle: Menus\n---\nSoup.\n"))
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o644))
}
