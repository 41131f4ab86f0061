package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
	"immutable-infra/server/rules"
)

// webServer is nginx and PHP with the configuration of their images, on local ports and with a directory for /srv/site.
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

// newWebServer starts nginx and PHP with two releases. If they are not installed, it skips the test.
func newWebServer(t *testing.T) *webServer {
	t.Helper()
	w := stoppedWebServer(t)
	w.release(firstRelease)
	w.release(secondRelease)
	w.use(firstRelease)
	w.startAll()
	return w
}

// stoppedWebServer returns a web server with the configuration, but without a release. It is not started.
func stoppedWebServer(t *testing.T) *webServer {
	t.Helper()
	nginx := program(t, "nginx")
	php := program(t, "php-fpm8.4", "php-fpm8.2")
	dir := t.TempDir()
	// If root runs the test, nginx and PHP run as another user.
	for path := dir; path != os.TempDir(); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o755))
	}
	temporary := filepath.Join(dir, "tmp")
	require.NoError(t, os.Mkdir(temporary, 0o700))
	require.NoError(t, os.Chmod(temporary, 0o777))
	ports := freeAddresses(t, 2)
	w := &webServer{
		T: t, dir: dir, site: filepath.Join(dir, "site"), url: "http://" + ports[0], status: "http://" + ports[1],
	}

	types := exec.CommandContext(t.Context(), "sh", "files/nginx/types")
	list, err := os.Open("/etc/mime.types")
	if err != nil {
		testtool.Missing(t, "no list of types here: run make tools, which installs media-types")
	}
	defer func() { require.NoError(t, list.Close()) }()
	types.Stdin = list
	converted, err := types.Output()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "types.conf"), converted, 0o644))

	configure := strings.NewReplacer(
		"/srv/site", w.site, "/tmp/", temporary+"/", "/dev/stderr", filepath.Join(temporary, "error.log"),
		"/etc/nginx/modules-enabled/*.conf", dir+"/modules.conf", "/etc/nginx/types.conf", dir+"/types.conf",
		"listen 8080 ", "listen "+strings.TrimPrefix(w.url, "http://")+" ", "listen 8081;",
		"listen "+strings.TrimPrefix(w.status, "http://")+";",
		"set_real_ip_from 10.0.0.0/8;", "set_real_ip_from 127.0.0.1;",
		"/usr/share/site/probe.php", filepath.Join(w.site, "probe.php"),
		"/run/fastcgi/php.sock", filepath.Join(socketDir(t), "php.sock"),
	)
	for _, name := range []string{"nginx/nginx.conf", "php/php-fpm.conf", "php/site.ini"} {
		text, err := files.ReadFile("files/" + name)
		require.NoError(t, err)
		require.NoError(t,
			os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(configure.Replace(string(text))), 0o644))
	}
	// Whether nginx is unpacked or installed, its modules are at the same path relative to the program.
	var modules strings.Builder
	for _, module := range []string{"brotli_filter", "headers_more_filter"} {
		fmt.Fprintf(&modules, "load_module %s;\n",
			filepath.Join(filepath.Dir(nginx), "../lib/nginx/modules/ngx_http_"+module+"_module.so"))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "modules.conf"), []byte(modules.String()), 0o644))
	w.nginxCommand = []string{
		nginx, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(temporary, "error.log"), "-g", "daemon off;",
	}
	w.phpCommand = []string{
		php, "--nodaemonize", "--fpm-config", filepath.Join(dir, "php-fpm.conf"), "-c", filepath.Join(dir, "site.ini"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("error.log:\n%s", w.errorLog())
		}
	})
	return w
}

// configure replaces texts in nginx.conf, given in pairs.
func (w *webServer) configure(replacements ...string) {
	w.Helper()
	path := filepath.Join(w.dir, "nginx.conf")
	before, err := os.ReadFile(path)
	require.NoError(w, err)
	after := strings.NewReplacer(replacements...).Replace(string(before))
	require.NotEqual(w, string(before), after)
	require.NoError(w, os.WriteFile(path, []byte(after), 0o644))
}

func (w *webServer) errorLog() string {
	log, _ := os.ReadFile(filepath.Join(w.dir, "tmp", "error.log"))
	return string(log)
}

// startAll starts nginx and PHP, and waits until both respond.
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
		response, err := http.Get(w.status + "/php_probe")
		return err == nil && response.Body.Close() == nil && response.StatusCode == http.StatusOK
	}, 10*time.Second, 20*time.Millisecond, "nginx and PHP do not respond")
}

// program returns the path of the first of these programs that is installed, or skips the test.
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
	testtool.Missing(t, "%s is not installed here: run make tools", names[0])
	return ""
}

// socketDir creates a world-writable directory whose path is short enough for a socket in it.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fpm")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o777))
	return dir
}

// freeAddresses returns distinct local addresses on which nothing listens.
func freeAddresses(t *testing.T, count int) (addresses []string) {
	t.Helper()
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		// Keep the listeners open until all addresses are known: the kernel may choose a closed port again.
		defer func() { require.NoError(t, listener.Close()) }()
		addresses = append(addresses, listener.Addr().String())
	}
	return addresses
}

func freeAddress(t *testing.T) string { return freeAddresses(t, 1)[0] }

// command returns a command that runs as an ordinary user, until the test ends.
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

// release writes a release to the disk, like the agent. The front page, a PHP page and a redirect show the release's
// id. files are additional files.
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
		"site/_redirects": "/rss.xml /feed.xml\n/ä%20b/ /about/\n/which/ /" + id +
			"/\n/newsletter/ /410.html 410\n",
		"../../uploads/evil.php": `<?php echo "evil";`,
		"outside.php":            `<?php echo "outside";`,
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

// use switches to a release, like the agent, and waits until it is served.
func (w *webServer) use(id string) {
	w.Helper()
	link := filepath.Join(w.site, "current")
	require.NoError(w, os.Symlink("releases/"+id, link+".new"))
	require.NoError(w, os.Rename(link+".new", link))
	if w.nginx == nil {
		return
	}
	require.NoError(w, w.nginx.Process.Signal(syscall.SIGHUP))
	// Workers with the old configuration accept requests for another tenth of a second.
	var since time.Time
	require.Eventually(w, func() bool {
		if _, body := w.get("/.well-known/release"); !strings.Contains(body, id) {
			since = time.Time{}
		} else if since.IsZero() {
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) > 200*time.Millisecond
	}, 10*time.Second, 5*time.Millisecond, "nginx does not serve %s", id)
}

// get requests a path, which is sent exactly as given.
func (w *webServer) get(path string, headers ...string) (response *http.Response, body string) {
	w.Helper()
	address := strings.TrimPrefix(w.url, "http://")
	connection, err := net.Dial("tcp", address)
	require.NoError(w, err)
	defer func() { require.NoError(w, connection.Close()) }()
	require.NoError(w, connection.SetDeadline(time.Now().Add(40*time.Second)))
	request := "GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n"
	for i := 0; i < len(headers); i += 2 {
		request += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	_, err = io.WriteString(connection, request+"\r\n")
	require.NoError(w, err)
	response, err = http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(w, err, path)
	text, err := io.ReadAll(response.Body)
	require.NoError(w, err, path)
	require.NoError(w, response.Body.Close())
	return response, string(text)
}

func TestTheWebServerServesTheRelease(t *testing.T) {
	w := newWebServer(t)
	for path, want := range map[string]string{
		"/": "front page of " + firstRelease, "/index.html": "front page of ", "/about/": "about",
		"/about/index.html": "about",
		"/plain":            "plain", "/plain.html": "plain", "/.well-known/release": firstRelease,
		"/.well-known/server": "i-1",
	} {
		response, body := w.get(path)
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		require.Contains(t, body, want, path)
	}
}

func TestPathsWithoutAFileAreNotFound(t *testing.T) {
	w := newWebServer(t)
	for _, path := range []string{
		"/nope", "/nope/", "/assets", "/assets/", "/api", "/404.html", "/nope.php", "/uploads/evil.php",
		"/api/hello.php/evil.php", "/picture.svg/evil.php",
		"/../outside.php", "/..%2foutside.php", "/%2e%2e/outside.php", "/../../../uploads/evil.php",
		"/api/..%2f..%2foutside.php",
		"/../../../../../etc/passwd", "/..%2f..%2f..%2f..%2fetc/passwd", "//etc/passwd", "/etc/passwd", "/release.json",
		"/SHA256SUMS", "/fpm_status", "/fpm_ping", "/nginx_status",
	} {
		response, body := w.get(path)
		require.Equal(t, http.StatusNotFound, response.StatusCode, path)
		require.Equal(t, "not found", body, path)
	}
}

func TestPHPFilesOfTheReleaseRun(t *testing.T) {
	w := newWebServer(t)
	response, body := w.get("/api/hello.php")
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	require.Regexp(t, `^\{"php":"8\.\d+\.\d+","release":"`+firstRelease+`"\}\n$`, body)
	require.Equal(t, []string{"no-store"}, response.Header.Values("Cache-Control"),
		"only PHP's headers apply")
	require.Empty(t, response.Header.Get("X-Powered-By"))

	response, body = w.get("/api/address.php", "X-Forwarded-For", "198.51.100.99")
	require.Equal(t, "198.51.100.99 on "+filepath.Join(w.site, "releases", firstRelease, "site/api/address.php"), body)
	require.Equal(t, []string{"max-age=60"}, response.Header.Values("Cache-Control"))
	_, body = w.get("/api/curious.php")
	require.Equal(t, "closed", body, "PHP cannot read outside of the releases")
}

func TestRedirectsBelongToTheirRelease(t *testing.T) {
	w := newWebServer(t)
	for path, location := range map[string]string{
		"/rss.xml": "/feed.xml", "/rss.xml?a=b&c": "/feed.xml?a=b&c", "/%C3%A4%20b/": "/about/",
		"/which/": "/" + firstRelease + "/",
	} {
		response, _ := w.get(path)
		require.Equal(t, http.StatusMovedPermanently, response.StatusCode, path)
		require.Equal(t, location, response.Header.Get("Location"), path)
		require.Equal(t, []string{"max-age=3600"}, response.Header.Values("Cache-Control"), "a mistake must not persist")
	}
	response, body := w.get("/newsletter/")
	require.Equal(t, http.StatusGone, response.StatusCode)
	require.Equal(t, "gone", body)
}

func TestSwitchOfReleasesIsVisibleAtOnce(t *testing.T) {
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
		response, _ := w.get("/which/")
		require.Equal(t, "/"+id+"/", response.Header.Get("Location"))
	}
}

func TestOnlyFilesWithAHashInTheirNameAreCached(t *testing.T) {
	w := newWebServer(t)
	for path, want := range map[string]string{
		"/": "no-cache", "/about/": "no-cache", "/feed.xml": "no-cache", "/assets/site.css": "no-cache", "/nope": "no-cache",
		"/assets/site-3f0c6f1b2a9d8e47.css": "public, max-age=31536000, immutable",
		"/.well-known/release":              "no-store", "/.well-known/server": "no-store",
	} {
		response, _ := w.get(path)
		require.Equal(t, []string{want}, response.Header.Values("Cache-Control"), path)
	}
	response, body := w.get("/assets/site-0000000000000000.css")
	require.Equal(t, http.StatusOK, response.StatusCode, "a visitor may still have a page of the previous release")
	require.Equal(t, "plain name", body)
	require.Equal(t, []string{"no-cache"}, response.Header.Values("Cache-Control"), "the content does not match the hash")

	first, _ := w.get("/")
	again, body := w.get("/", "If-None-Match", first.Header.Get("ETag"))
	require.Equal(t, http.StatusNotModified, again.StatusCode)
	require.Empty(t, body)
}

func TestPagesAreCompressedForClientsThatSupportIt(t *testing.T) {
	w := newWebServer(t)
	for accepts, encoding := range map[string]string{
		"gzip, deflate, br, zstd": "br",
		"gzip":                    "gzip",
		"identity":                "",
		"":                        "",
	} {
		response, _ := w.get("/", "Accept-Encoding", accepts, "Via", "1.1 a proxy")
		require.Equal(t, encoding, response.Header.Get("Content-Encoding"), accepts)
		require.Equal(t, "Accept-Encoding", response.Header.Get("Vary"), accepts)
	}
}

func TestWithoutPHPPagesAreServed(t *testing.T) {
	w := newWebServer(t)
	require.NoError(t, w.php.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool {
		response, _ := w.get("/api/hello.php")
		return response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "5"
	}, 20*time.Second, 20*time.Millisecond)
	response, body := w.get("/about/")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "about", body)
	response, body = w.get("/nope")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.Equal(t, "not found", body)
	response, _ = w.get("/rss.xml")
	require.Equal(t, http.StatusMovedPermanently, response.StatusCode, "a redirect needs no PHP")
}

func TestStatusForExportersIsOnASeparatePort(t *testing.T) {
	w := newWebServer(t)
	w.url = w.status
	_, body := w.get("/nginx_status")
	require.Contains(t, body, "Active connections: ")
	_, body = w.get("/fpm_status?openmetrics")
	require.Contains(t, body, "phpfpm_up 1\n")
	_, body = w.get("/php_probe")
	require.Equal(t, "php runs", body)
	response, _ := w.get("/")
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

// wanted is the expected response for a path; empty fields are not compared.
type wanted struct {
	path             string
	status           int
	location, body   string
	contentType      string
	header, hasValue string
}

func (w *webServer) expect(cases ...wanted) {
	w.Helper()
	for _, want := range cases {
		response, body := w.get(want.path)
		require.Equal(w, want.status, response.StatusCode, want.path)
		if want.status >= 300 && want.status < 400 {
			require.Equal(w, want.location, response.Header.Get("Location"), want.path)
		}
		if want.body != "" {
			require.Equal(w, want.body, body, want.path)
		}
		if want.contentType != "" {
			require.Equal(w, want.contentType, response.Header.Get("Content-Type"), want.path)
		}
		if want.header != "" {
			require.Equal(w, want.hasValue, strings.Join(response.Header.Values(want.header), "|"), "%s: %s", want.path,
				want.header)
		}
	}
}

// newSite serves one release with these files in addition to the usual ones.
func newSite(t *testing.T, files map[string]string) *webServer {
	t.Helper()
	w := stoppedWebServer(t)
	w.release(firstRelease, files)
	w.use(firstRelease)
	w.startAll()
	return w
}

func TestSourceOfPHPIsNeverSent(t *testing.T) {
	const source = "<?php $password = 'secret'; echo 'ran';"
	names := []string{
		"contact.php", "x.phtml", "x.phar", "x.php5", "x.phps", "x.pht", "x.PHP", "x.PhP", "x.inc", "x.php~", "x.php.bak",
		"x.php.old", "x.php.orig",
		"x.php.txt", "x.php-backup", "x.php_2", "x.php 2", "x.php.", "x.php ", "#x.php#", "x.php.swp", ".x.php.swp", ".x.php",
		"x.phpbak",
		"_headers", "_redirects", ".env", ".git/config", "sub/.htpasswd", "kept-0123456789abcdef.php",
		"y.phtml-0123456789abcdef.txt",
	}
	files := map[string]string{
		"page-about-x.php-files.html": "a page",
		"x.php.png":                   "a picture",
		"about-x.php/index.html":      "another page",
	}
	for _, name := range names {
		switch name {
		case "_headers":
			files[name] = "# secret\n/*\n  X-From: file\n"
		case "_redirects":
			files[name] = "# secret\n/from/ /to/\n"
		default:
			files[name] = source
			files["api/"+name] = source
		}
	}
	w := newSite(t, files)

	t.Run("of any file", func(t *testing.T) {
		w.T = t
		variants := []func(string) string{
			escapePath,
			func(name string) string { return escapePath(name) + "/" },
			func(name string) string { return escapePath(name) + "." },
			func(name string) string { return escapePath(name) + "%20" },
			func(name string) string { return escapePath(name) + "%00" },
			func(name string) string { return escapePath(name) + ";.css" },
			func(name string) string { return escapePath(name) + "/x.css" },
			func(name string) string { return strings.ReplaceAll(escapePath(name), ".", "%2e") },
			func(name string) string { return strings.ReplaceAll(escapePath(name), "p", "%70") },
			func(name string) string { return strings.ReplaceAll(escapePath(name), "p", "%2570") },
			func(name string) string { return "/" + escapePath(name) },
			func(name string) string { return "./" + escapePath(name) },
			func(name string) string { return escapePath(name) + "?a.css" },
			func(name string) string {
				extension := filepath.Ext(name)
				return escapePath(strings.TrimSuffix(name, extension) + "-0123456789abcdef" + extension)
			},
		}
		for _, directory := range []string{"/", "/api/", "//", "/api/../"} {
			for _, name := range names {
				for i, variant := range variants {
					path := directory + variant(name)
					response, body := w.get(path)
					require.NotContains(t, body, "secret", "%s (variant %d)", path, i)
					if body != "ran" {
						require.Contains(t, []int{http.StatusNotFound, http.StatusMovedPermanently}, response.StatusCode, path)
					}
				}
			}
		}
		w.expect(
			wanted{path: "/contact.php", status: 200, body: "ran"},
			wanted{path: "/api/contact.php", status: 200, body: "ran"},
			wanted{path: "/api/contact-0123456789abcdef.php", status: 404, body: "not found"},
			wanted{path: "/page-about-x.php-files.html", status: 200, body: "a page"},
			wanted{path: "/page-about-x.php-files", status: 200, body: "a page"},
			wanted{path: "/x.php.png", status: 200, body: "a picture"},
			wanted{path: "/about-x.php", status: 301, location: "/about-x.php/"},
			wanted{path: "/about-x.php/", status: 200, body: "another page"},
		)
	})
}

func TestVisitorsControlNeitherWhatPHPRunsNorItsVariables(t *testing.T) {
	w := newSite(t, map[string]string{
		"picture.png": "<?php echo 'r' . 'an';",
		"variables.php": "<?php echo json_encode([$_SERVER['HTTP_PROXY'] ?? '', getenv('HTTP_PROXY') ?: '', " +
			"$_SERVER['SCRIPT_FILENAME'], $_SERVER['PATH_INFO'] ?? '', ini_get('auto_prepend_file')]);",
	})
	for _, path := range []string{
		"/picture.png", "/picture.png/x.php", "/picture.png/.php", "/picture.png%00.php", "/picture.png%0a.php",
		"/picture.png;.php", "/picture.png?.php", "/picture.png%3f.php", "/x.php/../picture.png",
		"/variables.php/picture.png", "/variables.php/../picture.png", "/picture.png-0123456789abcdef.php",
		"/.well-known/../picture.png/a.php", "//picture.png/x.php", "/fpm_status", "/fpm_ping", "/php_probe", "/probe.php",
	} {
		_, body := w.get(path)
		require.NotContains(t, body, "ran", path)
		require.NotContains(t, body, "pool:", path)
		require.NotContains(t, body, "pong", path)
	}
	want, err := json.Marshal([]string{
		"", "", filepath.Join(w.site, "releases", firstRelease, "site/variables.php"), "", "",
	})
	require.NoError(t, err)
	_, body := w.get("/variables.php?SCRIPT_FILENAME=/etc/passwd&HTTP_PROXY=x", "Proxy", "http://evil.example.net",
		"Script-Filename", "/etc/passwd", "SCRIPT_FILENAME", "/etc/passwd",
		"Path-Info", "/x", "PHP_VALUE", "auto_prepend_file=/etc/passwd", "PHP-Value", "auto_prepend_file=/etc/passwd",
		"PHP_ADMIN_VALUE", "open_basedir=/")
	require.JSONEq(t, string(want), body)
}

// escapePath percent-encodes every special character.
func escapePath(name string) string {
	return strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
}

func TestNothingThatAPageNeedsIsBlockedByDefault(t *testing.T) {
	t.Run("with the default headers", func(t *testing.T) {
		w := newSite(t, nil)
		for _, path := range []string{"/", "/picture.svg", "/nope", "/api/hello.php", "/rss.xml"} {
			response, _ := w.get(path)
			for _, name := range []string{
				"Content-Security-Policy", "X-Frame-Options", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
				"Cross-Origin-Embedder-Policy", "Permissions-Policy",
			} {
				require.Empty(t, response.Header.Values(name), "%s %s", path, name)
			}
			require.Equal(t, []string{"nosniff"}, response.Header.Values("X-Content-Type-Options"), path)
			require.Equal(t, []string{"strict-origin-when-cross-origin"}, response.Header.Values("Referrer-Policy"), path)
		}
	})
	t.Run("S3", func(t *testing.T) {
		w := newSite(t, nil)
		w.expect(wanted{path: "/", status: 200, header: "Strict-Transport-Security", hasValue: "max-age=31536000"})
		w.render(firstRelease, rules.Server{})
		w.use(firstRelease)
		require.Eventually(t, func() bool {
			response, _ := w.get("/")
			return response.Header.Get("Strict-Transport-Security") == ""
		}, 10*time.Second, 10*time.Millisecond)
	})
}

func TestURLsWorkLikeOnStaticHosts(t *testing.T) {
	files := map[string]string{
		"page.html": "page", "both.html": "file", "both/index.html": "directory", "empty/data.txt": "data",
		"mixed.html": "mixed", "mixed/deep.html": "deep",
		"form/index.php": "<?php echo 'form ', $_SERVER['SCRIPT_NAME'];", "über/index.html": "über",
		"a b/index.html": "space", "a+b&c/index.html": "plus",
		"ünï.html": "unicode",
	}
	for _, name := range []string{
		"a b.txt", "what?.txt", "sharp#.txt", "100%.txt", "grüße.txt", "a+b.txt", "a&b.txt", "it's.txt", "日本語.txt",
		`back\slash.txt`, "semi;colon.txt", `quo"te.txt`, "[x].txt", "e\u0301.txt", "$uri.txt", "{x}.txt",
	} {
		files["names/"+name] = "text of " + name
	}
	w := newSite(t, files)
	t.Run("addresses", func(t *testing.T) {
		w.T = t
		w.expect(
			wanted{path: "/about", status: 301, location: "/about/"},
			wanted{path: "/about?a=b&c=%20", status: 301, location: "/about/?a=b&c=%20"},
			wanted{path: "/about/", status: 200, body: "about"},
			wanted{path: "/page", status: 200, body: "page", contentType: "text/html; charset=utf-8"},
			wanted{path: "/page/", status: 301, location: "/page"},
			wanted{path: "/page/?q=1", status: 301, location: "/page?q=1"},
			wanted{path: "//page//", status: 301, location: "/page"},
			wanted{path: "//about", status: 301, location: "/about/"},
			wanted{path: "/both", status: 200, body: "file"},
			wanted{path: "/both/", status: 200, body: "directory"},
			wanted{path: "/mixed", status: 200, body: "mixed"},
			wanted{path: "/mixed/", status: 301, location: "/mixed"},
			wanted{path: "/empty", status: 404, body: "not found"},
			wanted{path: "/empty/", status: 404, body: "not found"},
			wanted{path: "/form", status: 301, location: "/form/"},
			wanted{path: "/form/", status: 200, body: "form /form/index.php"},
			wanted{path: "/%C3%BCber", status: 301, location: "/%C3%BCber/"},
			wanted{path: "/%C3%BCber/", status: 200, body: "über"},
			wanted{path: "/a%20b", status: 301, location: "/a%20b/"},
			wanted{path: "/a+b&c", status: 301, location: "/a+b&c/"},
			wanted{path: "/%C3%BCn%C3%AF", status: 200, body: "unicode"},
			wanted{path: "/%C3%BCn%C3%AF/", status: 301, location: "/%C3%BCn%C3%AF"},
			wanted{path: "/über", status: 200, body: "über"},
		)
		for name, text := range files {
			if strings.HasPrefix(name, "names/") {
				w.expect(wanted{path: "/" + escapePath(name), status: 200, body: text, contentType: "text/plain; charset=utf-8"})
			}
		}
	})
}

func TestFilesHaveTheirRegisteredTypes(t *testing.T) {
	text := strings.Repeat("text ", 100)
	types := map[string]string{
		"a.mjs": "text/javascript; charset=utf-8", "a.js": "text/javascript; charset=utf-8",
		"a.css":         "text/css; charset=utf-8",
		"a.webmanifest": "application/manifest+json", "a.vtt": "text/vtt; charset=utf-8",
		"a.md":   "text/markdown; charset=utf-8",
		"a.json": "application/json", "a.map": "application/json", "a.geojson": "application/geo+json",
		"a.jsonld": "application/ld+json", "a.xml": "application/xml", "a.atom": "application/atom+xml",
		"a.rss": "application/rss+xml", "a.svg": "image/svg+xml", "a.avif": "image/avif", "a.webp": "image/webp",
		"a.jpg": "image/jpeg", "a.JPG": "image/jpeg", "a.png": "image/png",
		"a.ico": "image/vnd.microsoft.icon", "a.woff": "font/woff", "a.woff2": "font/woff2", "a.ttf": "font/ttf",
		"a.otf": "font/otf", "a.wasm": "application/wasm",
		"a.mp4": "video/mp4", "a.webm": "video/webm", "a.mp3": "audio/mpeg", "a.m4a": "audio/mp4", "a.ogg": "audio/ogg",
		"a.opus": "audio/ogg", "a.flac": "audio/flac",
		"a.pdf": "application/pdf", "a.epub": "application/epub+zip", "a.zip": "application/zip", "a.gz": "application/gzip",
		"a.csv": "text/csv; charset=utf-8", "a.ics": "text/calendar; charset=utf-8",
		"a.txt": "text/plain; charset=utf-8", "a.yml": "application/yaml", "a.m3u8": "application/vnd.apple.mpegurl",
		"a.ts": "video/mp2t", "a.glb": "model/gltf-binary", "a.xhtml": "application/xhtml+xml",
		"a.unknown": "application/octet-stream", "LICENSE": "application/octet-stream",
		".well-known/matrix/client": "application/json", ".well-known/matrix/server": "application/json",
		".well-known/apple-app-site-association": "application/json",
		"apple-app-site-association":             "application/json", ".well-known/webfinger": "application/jrd+json",
		".well-known/host-meta": "application/xrd+xml",
		".well-known/nodeinfo":  "application/json", ".well-known/openid-configuration": "application/json",
		".well-known/security.txt": "text/plain; charset=utf-8",
		".well-known/mta-sts.txt":  "text/plain; charset=utf-8", ".well-known/did.json": "application/json",
		".well-known/atproto-did":     "text/plain; charset=utf-8",
		".well-known/assetlinks.json": "application/json",
	}
	files := map[string]string{}
	for name := range types {
		files[name] = text
	}
	w := newSite(t, files)
	t.Run("media types", func(t *testing.T) {
		w.T = t
		for name, want := range types {
			w.expect(wanted{path: "/" + name, status: 200, body: text, contentType: want})
		}
		for _, name := range []string{
			"a.mjs", "a.webmanifest", "a.vtt", "a.md", "a.json", "a.svg", "a.atom", "a.ttf", "a.ico", "a.wasm",
			".well-known/matrix/client", ".well-known/host-meta",
		} {
			response, _ := w.get("/"+name, "Accept-Encoding", "br")
			require.Equal(t, "br", response.Header.Get("Content-Encoding"), name)
		}
		for _, name := range []string{"a.png", "a.woff2", "a.mp4", "a.zip"} {
			response, _ := w.get("/"+name, "Accept-Encoding", "br, gzip")
			require.Empty(t, response.Header.Get("Content-Encoding"), name)
		}
		require.NotContains(t, w.errorLog(), "[warn]")
	})
}

func TestRedirectsAreWellFormed(t *testing.T) {
	w := newSite(t, map[string]string{
		"_redirects": strings.Join([]string{
			"# comment", "/q/ /new/?a=1", "/u/ /über/ # trailing comment", "/caf%C3%A9/ /coffee/", "/käse/ /cheese",
			"/sharp /page#part", "/sharpq /page?a=1#part",
			"/out https://example.org", "/outq https://example.org?a=1", "/Case /upper", "/case /lower", "/two%20words /x",
			"/dollar/ /$uri/$1", "/temp /new 302", "/other /new 303", "/t307 /new 307", "/t308 /new 308",
			"/slash /target", "/add /add/", "/blog/:year/:month/* /:year-:month/:splat", "/x/* /:splat",
			"/y/* /:splat/evil.example/", "/z/:name /:name/:name", "/h/* https://example.org/:splat", "/hq/* /find?q=:splat",
			"/föö/* /bar/:splat", "/a+b/* /plus/:splat", "/mid/*/end /m/:splat", "/both/:a/* /late/:a", "/both/first /never",
			"/plain /wins-not", "/about/* /forced/:splat 301!", "/app/* /plain.html 200", "/docs/* /names/:splat.txt 200",
			"/gone/* /410.html 410", "/law /410.html 451", "/en/* /en-404.html 404", "/dots/x-:a /:a:a/:a:a/release.json 200",
			"/pretty/* /about 200", "/forced200 /plain.html 200!", "/about/gone.html /410.html 410!",
			"/.well-known/webfinger* https://social.example/.well-known/webfinger:splat", "/old.php /new/", "/dir /dir/",
			"/run/* /api/script.php 200", "/* /index.html 200",
		}, "\n"),
		"names/ä b.txt": "umlaut", "en-404.html": "english",
		"api/script.php": "<?php echo $_SERVER['REQUEST_URI'], ' ', $_SERVER['SCRIPT_NAME'];", "about/team.html": "team",
	})
	t.Run("redirects", func(t *testing.T) {
		w.T = t
		for path, location := range map[string]string{
			"/q/?utm=1": "/new/?a=1&utm=1", "/q/": "/new/?a=1", "/q": "/new/?a=1", "/q/?": "/new/?a=1", "/u/": "/%C3%BCber/",
			"/u/?x=%C3%BC": "/%C3%BCber/?x=%C3%BC",
			"/caf%C3%A9/":  "/coffee/", "/caf%c3%a9/": "/coffee/", "/café/": "/coffee/", "/k%C3%A4se/": "/cheese",
			"/sharp?q=1": "/page?q=1#part", "/sharpq?q=1": "/page?a=1&q=1#part", "/out": "https://example.org/",
			"/out?q=1": "https://example.org/?q=1", "/outq?q=1": "https://example.org/?a=1&q=1",
			"/Case": "/upper", "/case": "/lower", "/two%20words": "/x", "/dollar/": "/$uri/$1", "/slash/": "/target",
			"/add":                     "/add/",
			"/blog/2020/01/a%20b/?c=d": "/2020-01/a%20b/?c=d", "/x/a/b": "/a/b", "/x//evil.example/": "/evil.example/",
			"/x/%2Fevil.example/": "/%2Fevil.example/", `/x/\evil.example`: "/evil.example",
			`/x//\/evil.example`: "/evil.example",
			"/y/":                "/evil.example/", "/z/a": "/a/a", "/x/%0d%0aSet-Cookie:a=b": "/%0d%0aSet-Cookie:a=b",
			"/h//evil.example": "https://example.org//evil.example", "/h/@evil.example": "https://example.org/@evil.example",
			"/hq/a%26b": "/find?q=a%26b", "/hq/a?utm=1": "/find?q=a&utm=1", "/f%C3%B6%c3%b6/x": "/bar/x", "/föö/x": "/bar/x",
			"/a+b/x": "/plus/x", "/a%2bb/x": "/plus/x", "/mid/1/2/end": "/m/1/2",
			"/.well-known/webfinger?resource=acct:a@b": "https://social.example/.well-known/webfinger?resource=acct:a@b",
			"/old.php?p=1": "/new/?p=1", "/dir": "/dir/",
			"/both/first/x": "/late/first", "/about/": "/forced/", "/about/team": "/forced/team",
		} {
			w.expect(wanted{path: path, status: 301, location: location})
		}
		w.expect(
			wanted{path: "/temp", status: 302, location: "/new"}, wanted{path: "/other", status: 303, location: "/new"},
			wanted{path: "/t307", status: 307, location: "/new"}, wanted{path: "/t308", status: 308, location: "/new"},
			wanted{path: "/plain", status: 200, body: "plain"}, wanted{path: "/both/first", status: 301, location: "/never"},
			wanted{path: "/app/any/thing?x", status: 200, body: "plain"},
			wanted{path: "/docs/%C3%A4%20b", status: 200, body: "umlaut"},
			wanted{path: "/gone/", status: 410, body: "gone"}, wanted{
				path: "/forced200", status: 200, body: "plain",
			}, wanted{path: "/about/gone.html", status: 301, location: "/forced/gone.html"},
			wanted{path: "/law", status: 451, body: "gone"}, wanted{path: "/en/nope", status: 404, body: "english"},
			wanted{path: "/run/a?b=c", status: 200, body: "/run/a?b=c /api/script.php"},
			wanted{path: "/add/", status: 200}, wanted{path: "/dots/x-.", status: 404, body: "not found"},
			wanted{path: "/pretty/x", status: 200, body: "about"},
		)
		_, body := w.get("/anything/else")
		require.Contains(t, body, "front page of")
	})
}

func TestHeadersOfTheSiteReplaceTheDefaults(t *testing.T) {
	w := newSite(t, map[string]string{
		"_headers": `# comment
/*
  Content-Security-Policy: default-src 'self'
  X-Frame-Options: DENY
  X-Content-Type-Options: nosniff
  Referrer-Policy: no-referrer
  X-All: "quoted" \back $uri ${uri} ; } {
/picture.svg
  ! Content-Security-Policy
  Content-Security-Policy: sandbox
  Content-Type: text/plain
/assets/*
  Cache-Control: public, max-age=600
  X-All: second
/plain*
  ! X-Frame-Options
  ! Referrer-Policy
/by/:who/*
  X-Who: :who of :splat and :other
/*.xml
  Content-Type: application/atom+xml; charset=us-ascii
/ü/*
  X-Umlaut: yes
/api/*
  X-Frame-Options: SAMEORIGIN
  Cache-Control: max-age=5
  Content-Type: text/css
/no-sniff/
  ! X-Content-Type-Options
  ! Cache-Control
`,
		"api/own.php": `<?php header("X-Frame-Options: ALLOW"); header("Referrer-Policy: origin"); header("X-Content-Type-Options: own"); header("Content-Type: text/html; charset=iso-8859-1"); header("X-All: php"); http_response_code(404); echo "own";`,
		"ü/x.txt":     "x", "no-sniff/index.html": "x",
	})
	w.expect(
		wanted{path: "/", status: 200, header: "Content-Security-Policy", hasValue: "default-src 'self'"},
		wanted{path: "/nope", status: 404, header: "Content-Security-Policy", hasValue: "default-src 'self'"},
		wanted{path: "/", status: 200, header: "X-Content-Type-Options", hasValue: "nosniff"},
		wanted{path: "/", status: 200, header: "Referrer-Policy", hasValue: "no-referrer"},
		wanted{path: "/", status: 200, header: "Cache-Control", hasValue: "no-cache"},
		wanted{path: "/", status: 200, header: "X-All", hasValue: `"quoted" \back $uri ${uri} ; } {`},
		wanted{
			path: "/picture.svg", status: 200, header: "Content-Security-Policy", hasValue: "sandbox",
			contentType: "text/plain; charset=utf-8",
		},
		wanted{
			path: "/assets/site.css", status: 200, header: "Cache-Control", hasValue: "public, max-age=600",
			contentType: "text/css; charset=utf-8",
		},
		wanted{path: "/assets/site.css", status: 200, header: "X-All", hasValue: `"quoted" \back $uri ${uri} ; } {|second`},
		wanted{
			path:     "/assets/site-3f0c6f1b2a9d8e47.css",
			status:   200,
			header:   "Cache-Control",
			hasValue: "public, max-age=600",
		},
		wanted{path: "/assets/nope.css", status: 404, header: "Cache-Control", hasValue: "no-cache"},
		wanted{path: "/plain", status: 200, header: "X-Frame-Options"},
		wanted{path: "/plain.html", status: 200, header: "Referrer-Policy"},
		wanted{path: "/no-sniff/", status: 200, header: "X-Content-Type-Options"},
		wanted{path: "/no-sniff/", status: 200, header: "Cache-Control"},
		wanted{path: "/by/me/a/b", status: 404, header: "X-Who", hasValue: "me of a/b and :other"},
		wanted{path: "/by/me/%0d%0aX-Evil:1", status: 404, header: "X-Who", hasValue: "me of %0d%0aX-Evil:1 and :other"},
		wanted{path: "/by/me/%0d%0aX-Evil:1", status: 404, header: "X-Evil"},
		wanted{path: "/feed.xml", status: 200, contentType: "application/atom+xml; charset=us-ascii"},
		wanted{path: "/%C3%BC/x.txt", status: 200, header: "X-Umlaut", hasValue: "yes"},
		wanted{
			path: "/api/own.php", status: 404, body: "own", header: "X-Frame-Options", hasValue: "ALLOW",
			contentType: "text/html; charset=iso-8859-1",
		},
		wanted{path: "/api/own.php", status: 404, header: "Referrer-Policy", hasValue: "origin"},
		wanted{path: "/api/own.php", status: 404, header: "X-Content-Type-Options", hasValue: "own"},
		wanted{path: "/api/own.php", status: 404, header: "X-All", hasValue: "php"},
		wanted{
			path: "/api/hello.php", status: 200, header: "X-Frame-Options", hasValue: "DENY|SAMEORIGIN",
			contentType: "application/json",
		},
		wanted{path: "/api/hello.php", status: 200, header: "Cache-Control", hasValue: "no-store"},
		wanted{path: "/api/curious.php", status: 200, header: "Cache-Control", hasValue: "max-age=5"},
	)
}

func TestASiteThatMovedAwayKeepsTheServersOwnPages(t *testing.T) {
	w := newSite(t, map[string]string{
		"_redirects": "/* https://new.example/:splat 301!\n",
		"_headers":   "/*\n  Cache-Control: public, max-age=31536000\n  Content-Type: text/html\n",
	})
	w.expect(
		wanted{path: "/about/?q=1", status: 301, location: "https://new.example/about/?q=1"},
		wanted{path: "/api/hello.php", status: 301, location: "https://new.example/api/hello.php"},
		wanted{
			path: "/.well-known/release", status: 200, header: "Cache-Control", hasValue: "no-store",
			contentType: "application/json",
		},
		wanted{
			path: "/.well-known/server", status: 200, body: `{"server":"i-1"}`, header: "Cache-Control", hasValue: "no-store",
		},
	)
}

func TestExampleSiteHasAStrictPolicy(t *testing.T) {
	files := map[string]string{"assets/images/a.svg": "<svg/>", "assets/images/a.jpg": "jpg"}
	for _, name := range []string{rules.HeadersFile, rules.RedirectsFile} {
		text, err := os.ReadFile("../site/" + name)
		require.NoError(t, err)
		files[name] = string(text)
	}
	w := newSite(t, files)
	const page = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; img-src 'self'; " +
		"style-src 'self'"
	const picture = "default-src 'none'; frame-ancestors 'none'; sandbox; style-src 'unsafe-inline'"
	w.expect(
		wanted{path: "/", status: 200, header: "Content-Security-Policy", hasValue: page},
		wanted{path: "/nope", status: 404, header: "Content-Security-Policy", hasValue: page},
		wanted{path: "/assets/images/a.svg", status: 200, header: "Content-Security-Policy", hasValue: picture},
		wanted{path: "/feed.xml", status: 200, header: "Cross-Origin-Resource-Policy", hasValue: "same-origin"},
		wanted{path: "/picture.svg", status: 200, header: "Cross-Origin-Resource-Policy", hasValue: "cross-origin"},
		wanted{path: "/assets/images/a.svg", status: 200, header: "Cross-Origin-Resource-Policy", hasValue: "cross-origin"},
		wanted{path: "/assets/images/a.jpg", status: 200, header: "Cross-Origin-Resource-Policy", hasValue: "cross-origin"},
		wanted{path: "/", status: 200, header: "Cross-Origin-Opener-Policy", hasValue: "same-origin"},
		wanted{path: "/", status: 200, header: "X-Frame-Options", hasValue: "DENY"},
		wanted{
			path:     "/",
			status:   200,
			header:   "Permissions-Policy",
			hasValue: "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
		},
		wanted{path: "/posts/?page=2", status: 301, location: "/archive/?page=2"},
		wanted{path: "/newsletter", status: 410, body: "gone"},
	)
}

// TestSwitchUnderLoadFailsNoRequestAndMixesNoReleases sends requests over keep-alive connections, like Traefik, while
// releases are switched.
func TestSwitchUnderLoadFailsNoRequestAndMixesNoReleases(t *testing.T) {
	w := stoppedWebServer(t)
	for _, id := range []string{firstRelease, secondRelease} {
		w.release(id, map[string]string{
			"_headers": "/*\n  X-Release: " + id + "\n", "_redirects": "/which/ /" + id + "/\n",
			"page.html": id, "large.txt": strings.Repeat(id, 1<<16), "who.php": "<?php echo '" + id + "';",
		})
	}
	w.use(firstRelease)
	w.startAll()

	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var requests atomic.Int64
	for range 6 {
		load.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				path := []string{"/page", "/large.txt", "/which/", "/who.php", "/.well-known/release"}[i%5]
				response, err := client.Get(w.url + path)
				if !assert.NoError(t, err, path) {
					return
				}
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				id := response.Header.Get("X-Release")
				said := string(body) + response.Header.Get("Location")
				if !assert.NoError(t, err, path) || !assert.Less(t, response.StatusCode, 400, path) ||
					!assert.Contains(t, []string{firstRelease, secondRelease}, id, path) || !assert.Contains(t, said, id, path) {
					return
				}
				requests.Add(1)
			}
		})
	}
	for i := range 12 {
		w.use([]string{secondRelease, firstRelease}[i%2])
	}
	stop()
	load.Wait()
	require.Greater(t, requests.Load(), int64(100))
}

func TestASlowVisitorGetsALargeFile(t *testing.T) {
	t.Run("with a pause", func(t *testing.T) {
		text, err := files.ReadFile("files/nginx/nginx.conf")
		require.NoError(t, err)
		require.Contains(t, string(text), "send_timeout 10m;", "the timeout is for a pause, not for the whole response")

		// A pause may take one second here: only the whole download takes longer.
		const size = 24 << 20
		w := stoppedWebServer(t)
		w.configure("send_timeout 10m;", "send_timeout 1s;",
			"listen "+strings.TrimPrefix(w.url, "http://")+" default_server;",
			"listen "+strings.TrimPrefix(w.url, "http://")+" default_server sndbuf=64k;")
		w.release(firstRelease, map[string]string{"large.bin": strings.Repeat("0123456789abcdef", size/16)})
		w.use(firstRelease)
		w.startAll()
		connection, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		require.NoError(t, err)
		defer func() { require.NoError(t, connection.Close()) }()
		require.NoError(t, connection.(*net.TCPConn).SetReadBuffer(64<<10))
		_, err = io.WriteString(connection, "GET /large.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(connection), nil)
		require.NoError(t, err)
		began := time.Now()
		slow := time.NewTicker(100 * time.Millisecond)
		defer slow.Stop()
		var got int64
		for {
			n, err := io.CopyN(io.Discard, response.Body, size/25)
			got += n
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
			<-slow.C
		}
		require.Equal(t, int64(size), got)
		require.Greater(t, time.Since(began), 2*time.Second)
	})
}

// The limits are from php-fpm.conf: five workers, and a backlog of 128 in the kernel, which accepts one more.
func TestRequestsBeyondTheQueueOfPHPAreRefusedAtOnce(t *testing.T) {
	const served, refused = 5 + 129, 40
	w := newSite(t, map[string]string{"slow.php": "<?php usleep(200000); echo 'done';"})
	var visitors sync.WaitGroup
	var busy atomic.Int64
	for range served + refused {
		visitors.Go(func() {
			began := time.Now()
			response, err := http.Get(w.url + "/slow.php")
			if !assert.NoError(t, err) {
				return
			}
			assert.NoError(t, response.Body.Close())
			if response.StatusCode != http.StatusServiceUnavailable {
				assert.Equal(t, http.StatusOK, response.StatusCode)
				return
			}
			busy.Add(1)
			assert.Equal(t, "5", response.Header.Get("Retry-After"))
			assert.Less(t, time.Since(began), 3*time.Second)
		})
	}
	visitors.Wait()
	require.InDelta(t, refused, busy.Load(), refused/2)
}

func TestAMissingPageDoesNotWaitForPHP(t *testing.T) {
	t.Run("while PHP is busy", func(t *testing.T) {
		w := newSite(t, map[string]string{"sleep.php": "<?php sleep(20);"})
		ctx, wake := context.WithCancel(t.Context())
		var sleepers sync.WaitGroup
		for range 5 {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/sleep.php", nil)
			require.NoError(t, err)
			sleepers.Go(func() {
				_, err := http.DefaultClient.Do(request)
				assert.ErrorIs(t, err, context.Canceled, "PHP responded although it should be busy")
			})
		}
		// Five requests wait for PHP; the request for the status is the sixth.
		status := func() string {
			w := *w
			w.url = w.status
			_, body := w.get("/nginx_status")
			return body
		}
		require.Eventually(t, func() bool { return strings.Contains(status(), "Writing: 6") }, 5*time.Second,
			10*time.Millisecond)
		began := time.Now()
		w.expect(
			wanted{path: "/nope", status: 404, body: "not found"},
			wanted{path: "/nope.php", status: 404, body: "not found"},
			wanted{path: "/rss.xml", status: 301, location: "/feed.xml"},
			wanted{path: "/about", status: 301, location: "/about/"},
			wanted{path: "/newsletter/", status: 410, body: "gone"},
		)
		require.Less(t, time.Since(began), 500*time.Millisecond)
		wake()
		sleepers.Wait()
	})
}

func TestUploadsHaveAStatedLimit(t *testing.T) {
	w := newSite(t, map[string]string{"size.php": "<?php echo strlen(file_get_contents('php://input'));"})
	for size, status := range map[int]int{500 << 10: http.StatusOK, 17 << 20: http.StatusRequestEntityTooLarge} {
		content := strings.NewReader(strings.Repeat("x", size))
		response, err := http.Post(w.url+"/size.php", "application/octet-stream", content)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, status, response.StatusCode)
		if status == http.StatusOK {
			require.Equal(t, fmt.Sprint(size), string(body))
		}
	}
}

func TestNGINXStartsBeforeTheFirstRelease(t *testing.T) {
	w := stoppedWebServer(t)
	require.NoError(t, os.MkdirAll(w.site, 0o755))
	w.startAll()
	response, _ := w.get("/.well-known/server")
	require.Equal(t, http.StatusOK, response.StatusCode)
	response, _ = w.get("/")
	require.GreaterOrEqual(t, response.StatusCode, 404)
	w.release(firstRelease)
	w.use(firstRelease)
	response, _ = w.get("/")
	require.Equal(t, http.StatusOK, response.StatusCode)
}
