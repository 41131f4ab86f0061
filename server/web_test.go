package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/server/rules"
)

// webServer is nginx and PHP with the configuration of their images, on ports of
// this machine and with a directory for /srv/site.
type webServer struct {
	*testing.T
	url, status string
	dir, site   string
	nginx, php  *exec.Cmd

	nginxCommand, phpCommand []string
}

const (
	firstRelease  = "0123456789abcdef"
	secondRelease = "fedcba9876543210"
)

// newWebServer starts them. Where they are not installed, the test is skipped.
func newWebServer(t *testing.T) *webServer {
	t.Helper()
	w := stoppedWebServer(t)
	w.release(firstRelease)
	w.release(secondRelease)
	w.use(firstRelease)
	w.startAll()
	return w
}

// stoppedWebServer has the configuration, and no release yet.
func stoppedWebServer(t *testing.T) *webServer {
	t.Helper()
	nginx := program(t, "nginx")
	php := program(t, "php-fpm8.4", "php-fpm8.2")
	dir := t.TempDir()
	// They run as somebody else when root runs the test.
	for path := dir; path != os.TempDir(); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o755))
	}
	temporary := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(temporary, 0o700))
	require.NoError(t, os.Chmod(temporary, 0o777))
	w := &webServer{T: t, dir: dir, site: filepath.Join(dir, "site"), url: "http://" + freeAddress(t), status: "http://" + freeAddress(t)}
	phpAddress := freeAddress(t)

	types := exec.CommandContext(t.Context(), "sh", "files/nginx/types")
	list, err := os.Open("/etc/mime.types")
	if err != nil {
		t.Skip("no list of types here: apt-get install media-types")
	}
	defer func() { require.NoError(t, list.Close()) }()
	types.Stdin = list
	converted, err := types.Output()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "types.conf"), converted, 0o644))

	configure := strings.NewReplacer(
		"/srv/site", w.site, "/tmp/", temporary+"/", "/dev/stderr", filepath.Join(temporary, "error.log"),
		"/etc/nginx/modules-enabled/*.conf", dir+"/modules.conf", "/etc/nginx/types.conf", dir+"/types.conf",
		"listen 8080 ", "listen "+strings.TrimPrefix(w.url, "http://")+" ", "listen 8081;", "listen "+strings.TrimPrefix(w.status, "http://")+";",
		"set_real_ip_from 10.0.0.0/8;", "set_real_ip_from 127.0.0.1;",
		"/usr/share/site/probe.php", filepath.Join(w.site, "probe.php"),
		"php:9000", phpAddress, "listen = 9000", "listen = "+phpAddress,
	)
	for _, name := range []string{"nginx/nginx.conf", "php/php-fpm.conf", "php/site.ini"} {
		text, err := files.ReadFile("files/" + name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(configure.Replace(string(text))), 0o644))
	}
	// Unpacked or installed, the modules are beside the program.
	var modules strings.Builder
	for _, module := range []string{"brotli_filter", "headers_more_filter"} {
		fmt.Fprintf(&modules, "load_module %s;\n", filepath.Join(filepath.Dir(nginx), "../lib/nginx/modules/ngx_http_"+module+"_module.so"))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules.conf"), []byte(modules.String()), 0o644))
	w.nginxCommand = []string{nginx, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(temporary, "error.log"), "-g", "daemon off;"}
	w.phpCommand = []string{php, "--nodaemonize", "--fpm-config", filepath.Join(dir, "php-fpm.conf"), "-c", filepath.Join(dir, "site.ini")}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("error.log:\n%s", w.errorLog())
		}
	})
	return w
}

func (w *webServer) errorLog() string {
	log, _ := os.ReadFile(filepath.Join(w.dir, "tmp", "error.log"))
	return string(log)
}

// startAll starts nginx and PHP, and waits until both answer.
func (w *webServer) startAll() {
	w.Helper()
	require.NoError(w, os.WriteFile(filepath.Join(w.site, "server.json"), []byte(`{"server":"i-1"}`), 0o644))
	require.NoError(w, os.WriteFile(filepath.Join(w.site, "probe.php"), []byte(`<?php echo "php runs";`), 0o644))
	check := w.command(append([]string{w.nginxCommand[0], "-t"}, w.nginxCommand[1:]...)...)
	checked, err := check.CombinedOutput()
	require.NoError(w, err, "%s", checked)
	require.NotContains(w, string(checked), "[warn]")
	w.nginx = w.start(w.nginxCommand...)
	w.php = w.start(w.phpCommand...)
	require.Eventually(w, func() bool {
		answer, err := http.Get(w.status + "/php_probe")
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, "nginx and PHP do not answer")
}

// program is the path of the first of some programs that is there.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	t.Skipf("%s is not installed here", names[0])
	return ""
}

// freeAddress is a port of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	return listener.Addr().String()
}

// command is a program that runs as an ordinary user, until the test ends.
func (w *webServer) command(args ...string) *exec.Cmd {
	command := exec.CommandContext(w.Context(), args[0], args[1:]...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second // and then killed
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return command
}

// start starts a program as an ordinary user, until the test ends.
func (w *webServer) start(args ...string) *exec.Cmd {
	w.Helper()
	command := w.command(args...)
	require.NoError(w, command.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = command.Wait() }()
	w.Cleanup(func() { <-ended })
	return command
}

// release puts a release on the disk, as the agent does. It names itself on its front
// page, by PHP and by a redirect. files are added to it, or take a file out where they are nil.
func (w *webServer) release(id string, files ...map[string]string) {
	w.Helper()
	hello, err := os.ReadFile("../site/api/hello.php")
	require.NoError(w, err)
	all := map[string]string{
		"release.json":                          fmt.Sprintf(`{"release": %q}`, id),
		"site/index.html":                       "front page of " + id + strings.Repeat(" and more", 100),
		"site/404.html":                         "not found",
		"site/410.html":                         "gone",
		"site/about/index.html":                 "about",
		"site/plain.html":                       "plain",
		"site/feed.xml":                         "<feed/>",
		"site/picture.svg":                      "<svg/>",
		"site/assets/site.css":                  "plain name",
		"site/assets/site-3f0c6f1b2a9d8e47.css": "hashed name",
		"site/api/hello.php":                    string(hello),
		"site/api/address.php":                  `<?php header("Cache-Control: max-age=60"); echo $_SERVER["REMOTE_ADDR"], " ", $_SERVER["HTTPS"], " ", $_SERVER["SCRIPT_FILENAME"];`,
		"site/api/curious.php":                  `<?php echo @file_get_contents("/etc/hostname") === false ? "closed" : "open", function_exists("exec") ? " runs" : "";`,
		"site/_redirects":                       "/rss.xml /feed.xml\n/ä%20b/ /about/\n/which/ /" + id + "/\n/newsletter/ /410.html 410\n",
		"../../uploads/evil.php":                `<?php echo "evil";`,
		"outside.php":                           `<?php echo "outside";`,
	}
	for _, more := range files {
		for name, text := range more {
			all["site/"+name] = text
		}
	}
	for name, text := range all {
		path := filepath.Join(w.site, "releases", id, name)
		require.NoError(w, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(w, os.WriteFile(path, []byte(text), 0o644))
	}
	w.render(id, rules.Server{HSTS: "max-age=31536000"})
}

// render writes the configuration of a release.
func (w *webServer) render(id string, server rules.Server) {
	w.Helper()
	directory := filepath.Join(w.site, "releases", id)
	server.Root = filepath.Join(directory, "site")
	headers, _ := os.ReadFile(filepath.Join(server.Root, rules.HeadersFile))
	redirects, _ := os.ReadFile(filepath.Join(server.Root, rules.RedirectsFile))
	parsed, err := rules.Parse(headers, redirects)
	require.NoError(w, err)
	require.NoError(w, os.MkdirAll(filepath.Join(directory, "nginx"), 0o755))
	for name, text := range parsed.NGINX(server) {
		require.NoError(w, os.WriteFile(filepath.Join(directory, "nginx", name), []byte(text), 0o644))
	}
}

// use switches to a release, as the agent does, and waits until it is served.
func (w *webServer) use(id string) {
	w.Helper()
	link := filepath.Join(w.site, "current")
	require.NoError(w, os.Symlink("releases/"+id, link+".new"))
	require.NoError(w, os.Rename(link+".new", link))
	if w.nginx == nil {
		return
	}
	require.NoError(w, w.nginx.Process.Signal(syscall.SIGHUP))
	require.Eventually(w, func() bool {
		_, body := w.get("/.well-known/release")
		return strings.Contains(body, id)
	}, 20*time.Second, 5*time.Millisecond, "nginx does not serve %s", id)
}

// get asks for a path, which goes over the wire as it is.
func (w *webServer) get(path string, headers ...string) (answer *http.Response, body string) {
	w.Helper()
	request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, w.url, nil)
	require.NoError(w, err)
	request.URL = &url.URL{Scheme: "http", Host: request.URL.Host, Opaque: path}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	answer, err = transport.RoundTrip(request)
	require.NoError(w, err)
	text, err := io.ReadAll(answer.Body)
	require.NoError(w, err)
	require.NoError(w, answer.Body.Close())
	return answer, string(text)
}

func TestTheWebServerServesTheRelease(t *testing.T) {
	w := newWebServer(t)
	for path, want := range map[string]string{
		"/": "front page of " + firstRelease, "/index.html": "front page of ", "/about/": "about", "/about/index.html": "about",
		"/plain": "plain", "/plain.html": "plain", "/.well-known/release": firstRelease, "/.well-known/server": "i-1",
	} {
		answer, body := w.get(path)
		require.Equal(t, http.StatusOK, answer.StatusCode, path)
		require.Contains(t, body, want, path)
	}
}

func TestWhatIsNotAFileOfTheReleaseIsNotFound(t *testing.T) {
	w := newWebServer(t)
	for _, path := range []string{
		"/nope", "/nope/", "/assets", "/assets/", "/api", "/404.html", "/nope.php", "/uploads/evil.php", "/api/hello.php/evil.php", "/picture.svg/evil.php",
		"/../outside.php", "/..%2foutside.php", "/%2e%2e/outside.php", "/../../../uploads/evil.php", "/api/..%2f..%2foutside.php",
		"/../../../../../etc/passwd", "/..%2f..%2f..%2f..%2fetc/passwd", "//etc/passwd", "/etc/passwd", "/release.json", "/SHA256SUMS", "/fpm_status", "/fpm_ping", "/nginx_status",
	} {
		answer, body := w.get(path)
		require.Equal(t, http.StatusNotFound, answer.StatusCode, path)
		require.Equal(t, "not found", body, path)
	}
}

func TestPHPFilesOfTheReleaseRun(t *testing.T) {
	w := newWebServer(t)
	answer, body := w.get("/api/hello.php")
	require.Equal(t, "application/json", answer.Header.Get("Content-Type"))
	require.Regexp(t, `^\{"php":"8\.\d+\.\d+","release":"`+firstRelease+`"\}\n$`, body)
	require.Equal(t, []string{"no-store"}, answer.Header.Values("Cache-Control"), "what PHP says counts, and nothing else is said")
	require.Empty(t, answer.Header.Get("X-Powered-By"))

	answer, body = w.get("/api/address.php", "X-Forwarded-For", "198.51.100.99")
	require.Equal(t, "198.51.100.99 on "+filepath.Join(w.site, "releases", firstRelease, "site/api/address.php"), body)
	require.Equal(t, []string{"max-age=60"}, answer.Header.Values("Cache-Control"))
	_, body = w.get("/api/curious.php")
	require.Equal(t, "closed", body, "what is outside of the releases is not for PHP")
}

func TestARedirectIsTheReleasesOwn(t *testing.T) {
	w := newWebServer(t)
	for path, location := range map[string]string{
		"/rss.xml": "/feed.xml", "/rss.xml?a=b&c": "/feed.xml?a=b&c", "/%C3%A4%20b/": "/about/", "/which/": "/" + firstRelease + "/",
	} {
		answer, _ := w.get(path)
		require.Equal(t, http.StatusMovedPermanently, answer.StatusCode, path)
		require.Equal(t, location, answer.Header.Get("Location"), path)
		require.Equal(t, []string{"max-age=3600"}, answer.Header.Values("Cache-Control"), "a mistake must not stay for good")
	}
	answer, body := w.get("/newsletter/")
	require.Equal(t, http.StatusGone, answer.StatusCode)
	require.Equal(t, "gone", body)
}

func TestASwitchOfReleasesIsSeenAtOnce(t *testing.T) {
	w := newWebServer(t)
	for i := range 20 {
		id := []string{firstRelease, secondRelease}[i%2]
		w.use(id)
		_, body := w.get("/")
		require.Contains(t, body, "front page of "+id)
		_, body = w.get("/api/hello.php")
		require.Contains(t, body, id)
		_, body = w.get("/api/address.php")
		require.Contains(t, body, "/releases/"+id+"/site/")
		answer, _ := w.get("/which/")
		require.Equal(t, "/"+id+"/", answer.Header.Get("Location"))
	}
}

func TestWhatHasAHashInItsNameIsKeptAndTheRestIsAskedForAnew(t *testing.T) {
	w := newWebServer(t)
	for path, want := range map[string]string{
		"/": "no-cache", "/about/": "no-cache", "/feed.xml": "no-cache", "/assets/site.css": "no-cache", "/nope": "no-cache",
		"/assets/site-3f0c6f1b2a9d8e47.css": "public, max-age=31536000, immutable",
		"/.well-known/release":              "no-store", "/.well-known/server": "no-store",
	} {
		answer, _ := w.get(path)
		require.Equal(t, []string{want}, answer.Header.Values("Cache-Control"), path)
	}
	answer, body := w.get("/assets/site-0000000000000000.css")
	require.Equal(t, http.StatusOK, answer.StatusCode, "somebody has a page from before the last release")
	require.Equal(t, "plain name", body)
	require.Equal(t, []string{"no-cache"}, answer.Header.Values("Cache-Control"), "it is not what that name stands for")

	first, _ := w.get("/")
	again, body := w.get("/", "If-None-Match", first.Header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, again.StatusCode)
	require.Empty(t, body)
}

func TestPagesAreCompressedForThoseWhoCanReadThat(t *testing.T) {
	w := newWebServer(t)
	for accepts, encoding := range map[string]string{"gzip, deflate, br, zstd": "br", "gzip": "gzip", "identity": "", "": ""} {
		answer, _ := w.get("/", "Accept-Encoding", accepts, "Via", "1.1 a proxy")
		require.Equal(t, encoding, answer.Header.Get("Content-Encoding"), accepts)
		require.Equal(t, "Accept-Encoding", answer.Header.Get("Vary"), accepts)
	}
}

func TestWithoutPHPPagesAreServed(t *testing.T) {
	w := newWebServer(t)
	require.NoError(t, w.php.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		answer, _ := w.get("/api/hello.php")
		return answer.StatusCode == http.StatusBadGateway
	}, 20*time.Second, 20*time.Millisecond)
	answer, body := w.get("/about/")
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Equal(t, "about", body)
	for _, path := range []string{"/nope", "/rss.xml"} {
		answer, body = w.get(path)
		require.Equal(t, http.StatusNotFound, answer.StatusCode, path)
		require.Equal(t, "not found", body, path)
	}
}

func TestExportersFindTheStatusOnAPortOfItsOwn(t *testing.T) {
	w := newWebServer(t)
	w.url = w.status
	_, body := w.get("/nginx_status")
	require.Contains(t, body, "Active connections: ")
	_, body = w.get("/fpm_status?openmetrics")
	require.Contains(t, body, "phpfpm_up 1\n")
	answer, _ := w.get("/")
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
}
