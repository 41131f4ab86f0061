package rules

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

func TestEveryProblemIsReportedWithItsLine(t *testing.T) {
	_, err := Parse([]byte("X-Before: path\n\n/a\n  Server: me\n  no colon\n  X-Empty:\n  Basic-Auth: me:secret\n  ! "+
		"Content-Type\n  B d: x\nhttps://example.org/*\n  X-A: b\n/lonely\n/b//c\n"),
		[]byte("/a\n\n# comment\n/store id=:id /blog/:id 301\n/x https://other.example/ 200\n/ /anz 302 "+
			"Country=au,nz\nhttps://a.example/b /c\n/d /e 418\n/f //evil.example\n/loop /loop\n/:a/:a /b\n/*/* /b\n/q?a=b "+
			"/c\n/x https://:splat/a\n/x ftp://example.org/\n/gone /410.html#x 410\n/all/* /all/x 301!\n/m /n 301 "+
			"x\n/.well-known/release /x\n"))
	require.EqualError(t, err, strings.Join([]string{
		`_headers line 1: a header without a path before it; write a line such as /* first`,
		`_headers line 4: Server is the server's to set; remove the line`,
		`_headers line 5: "no colon" is neither a path nor a header; write Name: value, or ! Name`,
		`_headers line 6: the header has no value; write ! X-Empty to remove it`,
		`_headers line 7: Basic-Auth is the server's to set; there is no protection by password, and the header would publish it; remove the line`,
		`_headers line 8: a response needs a type; write Content-Type: application/octet-stream`,
		`_headers line 9: "B d" is not the name of a header; use letters, digits and hyphens`,
		`_headers line 10: https://example.org/* names a host, but every request reaches the site under its one domain; write the path alone`,
		`_headers line 12: the path has no headers; write them below it, as Name: value`,
		`_headers line 13: /b//c never matches: a request's path has no empty, . or .. parts; write it without them`,
		`_redirects line 1: the target is missing; write from, to and a status, such as /old/ /new/ 301`,
		`_redirects line 4: id=:id: query parameters are not supported in a rule; match the path alone, or decide in a PHP page`,
		`_redirects line 5: https://other.example/ with status 200 would be a proxy, which is not supported; use 302 to redirect there`,
		`_redirects line 6: Country=au,nz: conditions are not supported; remove it, or decide in a PHP page`,
		`_redirects line 7: https://a.example/b names a host, but every request reaches the site under its one domain; write the path alone`,
		`_redirects line 8: status "418" is not supported; use 200, 301, 302, 303, 307, 308, 404, 410 or 451`,
		`_redirects line 9: //evil.example leads to another host; begin it with https`,
		`_redirects line 10: the rule redirects its own target, forever; change one of the two`,
		`_redirects line 11: /:a/:a has :a or the splat * twice; use each once`,
		`_redirects line 12: /*/* has :splat or the splat * twice; use each once`,
		`_redirects line 13: /q?a=b has a query or a fragment, which no rule can match; write the path alone, with %3F or %23 for a ? or # in a file's name`,
		`_redirects line 14: https://:splat is not a host with an optional port; write a name in ASCII (xn--... for others), without placeholders`,
		`_redirects line 15: ftp://example.org: only http and https are supported; begin it with https`,
		`_redirects line 16: /410.html#x has a query or a fragment; a page of the site to show is a path alone`,
		`_redirects line 17: the rule redirects its own target, forever; change one of the two`,
		`_redirects line 18: "x" follows the status; write from, to and a status`,
		`_redirects line 19: /.well-known/release is the server's own; remove the rule`,
	}, "\n"))
}

func TestFilesWithBOMsCRLFAndUnicodeSpacesAreAccepted(t *testing.T) {
	_, err := Parse([]byte("\ufeff/*\r\n\tX-A: b\r\n"), []byte("\ufeff/a\t\t/b   301\r\n"))
	require.NoError(t, err)
	// Text from editors and web pages may contain non-ASCII spaces.
	_, err = Parse([]byte("/*\n\u00a0\n\u00a0\u00a0X-A: b\n"), []byte("\u2000\n\u00a0# comment\n/a\u00a0/b\u00a0\n"))
	require.NoError(t, err)
	_, err = Parse([]byte("/*\n  X-A: \xff\n"), []byte("/a /b\x00\n"))
	require.EqualError(t, err,
		"_headers line 2: the line is not UTF-8; save the file as UTF-8\n_headers line 1: the path has no headers; write "+
			"them below it, as Name: value\n_redirects line 1: the line has a control character; remove it")
}

func TestLimitsAreThoseOfCloudflare(t *testing.T) {
	repeat := func(n int, format string) []byte {
		var text strings.Builder
		for i := range n {
			text.WriteString(strings.ReplaceAll(format, "N", fmt.Sprint(i)))
		}
		return []byte(text.String())
	}
	for name, c := range map[string]struct{ headers, redirects []byte }{
		"2000 static": {nil, repeat(2000, "/N /to\n")},
		"100 dynamic": {nil, repeat(100, "/N/* /to\n")},
		"100 paths":   {repeat(100, "/N\n  A: b\n"), nil},
		"long line":   {[]byte("/*\n  A: " + strings.Repeat("x", 1900)), []byte("/" + strings.Repeat("x", 990) + " /to")},
		"long and quirk": {
			[]byte("/*\n  A: " + strings.Repeat(`\`, 1900)), []byte("/" + strings.Repeat("ü", 400) + "/* /to"),
		},
	} {
		_, err := Parse(c.headers, c.redirects)
		require.NoError(t, err, name)
	}
	for want, c := range map[string]struct{ headers, redirects []byte }{
		"_redirects line 2001: more than 2000": {nil, repeat(2002, "/N /to\n")},
		"_redirects line 101: more than 100":   {nil, repeat(102, "/N/* /to\n")},
		"_headers line 201: more than 100":     {repeat(102, "/N\n  A: b\n"), nil},
		"_headers line 2: the line has 2001":   {[]byte("/*\nA: " + strings.Repeat("x", 1998)), nil},
		"_redirects line 1: the line has 1001": {nil, []byte("/" + strings.Repeat("x", 1000))},
		"_headers line 2: the value is too":    {[]byte("/*\nA: " + strings.Repeat("$", 1990)), nil},
	} {
		_, err := Parse(c.headers, c.redirects)
		require.ErrorContains(t, err, want)
		require.Equal(t, 1,
			strings.Count(err.Error(), "more than")+strings.Count(err.Error(), "too long")+strings.Count(err.Error(),
				"the line has"), "%v", err)
	}
}

func TestWarningsNameRulesWithoutEffect(t *testing.T) {
	site := map[string]bool{
		"about/index.html": true, "plain.html": true, "410.html": true, "ü/index.html": true, "index.html": true,
		"form/index.php": true,
	}
	exists := func(name string) bool { return site[name] }
	for text, want := range map[string][]string{
		"/about /new": {
			"_redirects line 1: no effect: the site has a page at /about, which is served instead; remove one, or write 301!",
		},
		"/about/ /new 302": {
			"_redirects line 1: no effect: the site has a page at /about/, which is served instead; remove one, or write 302!",
		},
		"/plain /new": {
			"_redirects line 1: no effect: the site has a page at /plain, which is served instead; remove one, or write 301!",
		},
		"/form /new": {
			"_redirects line 1: no effect: the site has a page at /form, which is served instead; remove one, or write 301!",
		},
		"/%C3%BC/ /new": {
			"_redirects line 1: no effect: the site has a page at /ü/, which is served instead; remove one, or write 301!",
		},
		"/about /new 301!":     nil,
		"/old /new":            nil,
		"/* /index.html 200":   nil,
		"/gone /410.html 410":  nil,
		"/gone /nope.html 410": {"_redirects line 1: no effect: the site has no page at /nope.html to show"},
		"/a/* /b\n/a/c /d": {
			"_redirects line 2: no effect: line 1 matches every path of it first; move this line before it",
		},
		"/a/* /b\n/a/:c/d /d": {
			"_redirects line 2: no effect: line 1 matches every path of it first; move this line before it",
		},
		"/a/:b /b\n/a/* /d": nil,
		"/a /b\n/a /c": {
			"_redirects line 2: no effect: line 1 matches every path of it first; move this line before it",
		},
		"/* /index.html 200\n/x/:y /z/:y": {
			"_redirects line 2: no effect: line 1 matches every path of it first; move this line before it",
		},
		"/a https://example.org/wiki/Talk:x": {
			"_redirects line 1: :x in the target is taken as text, since the path has no such placeholder",
		},
	} {
		rules, err := Parse(nil, []byte(text))
		require.NoError(t, err, text)
		require.Equal(t, want, rules.Warnings(exists), text)
	}
	require.Empty(t, Rules{}.Warnings(exists))
}

// check parses rules and, if they are accepted, renders them twice.
func check(t *testing.T, headers, redirects []byte) (files map[string]string, accepted bool) {
	t.Helper()
	server := Server{Root: "/srv/site/releases/0123456789abcdef/site", HSTS: "max-age=31536000"}
	rules, err := Parse(headers, redirects)
	if err != nil {
		require.Equal(t, Rules{}, rules)
		return nil, false
	}
	rules.Warnings(func(name string) bool { return strings.Contains(name, "index") })
	files = rules.NGINX(server)
	require.Equal(t, files, rules.NGINX(server))
	require.Len(t, files, 2)
	for name, text := range files {
		require.NotContains(t, text, "\x00", name)
		for _, line := range strings.Split(text, "\n") {
			require.LessOrEqual(t, len(line), 2*4096+100, name)
		}
	}
	return files, true
}

func TestAFileThatTakesMinutesToReadIsRefused(t *testing.T) {
	large := bytes.Repeat([]byte("/*\n A: :a\n"), maxFile/10+1)
	for _, err := range []error{second(Parse(large, nil)), second(Parse(nil, large))} {
		require.ErrorContains(t, err, "bytes; at most 4194304 are allowed")
	}
}

func second(_ Rules, err error) error { return err }

func FuzzHeaders(f *testing.F) {
	for _, seed := range []string{
		"/*\n  A: b\n", "/:a/*\n  A: :a $x \"\\ ;} :splat\n  ! A\n", "/ü%22\n Content-Type: a/b\n", "/x\n! Cache-Control",
		"\ufeff\r\n/'\n\tA : é",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { check(t, text, nil) })
}

func FuzzRedirects(f *testing.F) {
	for _, seed := range []string{
		"/a /b", "/a/* /b/:splat?x=:splat#:splat 301!", "/:y-:m/ü%22 https://example.org:8/$1 308", "\u2000",
		"/a/:b /:b:b 200\n/A/x /y 410", "/\"\\;{}$ /'%0 451",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) { check(t, nil, text) })
}

// nginxTest checks the files with the real nginx.
func nginxTest(t *testing.T, files map[string]string) {
	t.Helper()
	nginx := testtool.Path(t, "nginx")
	dir := t.TempDir()
	configuration := "load_module " + filepath.Join(filepath.Dir(nginx),
		"../lib/nginx/modules/ngx_http_headers_more_filter_module.so") + `;
pid ` + dir + `/pid; error_log stderr; events {}
http {
access_log off; client_body_temp_path ` + dir + `/1; proxy_temp_path ` + dir + `/2;
fastcgi_temp_path ` + dir + `/3; uwsgi_temp_path ` + dir + `/4; scgi_temp_path ` + dir + `/5;
map_hash_max_size 16384; map_hash_bucket_size 2048; variables_hash_max_size 16384; variables_hash_bucket_size 128;
` + files["http.conf"] + `
server { listen 127.0.0.1:8080; absolute_redirect off;
` + files["server.conf"] + `
} }`
	path := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(path, []byte(configuration), 0o644))
	output, err := exec.CommandContext(t.Context(), nginx, "-t", "-q", "-c", path, "-e", "stderr").CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Empty(t, string(output))
}

func TestNGINXAcceptsTheLargestRules(t *testing.T) {
	var headers, redirects strings.Builder
	for i := range maxHeaderRules {
		fmt.Fprintf(&headers, "/%d/:a/*\n  X-%d: %s\n  X-Same: :splat\n", i, i, strings.Repeat("x", 1900))
	}
	for i := range maxStaticRedirects {
		fmt.Fprintf(&redirects, "/%d%s /to\n", i, strings.Repeat("X", 980))
	}
	for i := range maxDynamicRedirects {
		fmt.Fprintf(&redirects, "/%d/%s/* /to/:splat\n", i, strings.Repeat("ü", 400))
	}
	files, accepted := check(t, []byte(headers.String()), []byte(redirects.String()))
	require.True(t, accepted)
	nginxTest(t, files)
}

func TestNGINXAcceptsSitesWithFewRules(t *testing.T) {
	for _, site := range [][2]string{
		{"", ""}, {"/*\n  A: b\n", ""}, {"", "/a /b"}, {"", "/a /b 302!"}, {"", "/a /b 200"}, {"", "/a /b 200!"},
		{"", "/a /b 410"}, {"", "/a/* /b 404!"},
	} {
		files, accepted := check(t, []byte(site[0]), []byte(site[1]))
		require.True(t, accepted)
		nginxTest(t, files)
	}
}

// TestNGINXAcceptsWhatParseAccepts combines fragments that are special to the parser or to nginx.
func TestNGINXAcceptsWhatParseAccepts(t *testing.T) {
	fragments := []string{"a", "B", "/", "/", "/", "*", ":splat", ":a", ":b_1", "$", "$1", "${x}", "$uri", `"`, "'", `\`,
		`\"`, `\n`, ";", "{", "}", "#", "%", "%20", "%0", "%22", "%24", "%5C",
		"%C3%BC", "%ff", "ü", "日", "~", "^", "(", ")", "(?<x>", "[", "]", "?", "&", "=", "+", ".", "|", "\u2028", "default",
		"include", "volatile", "hostnames", ":", "-", "é", "\\E", "\\Q", "!"}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	text := func() string {
		var b strings.Builder
		for range random.IntN(12) {
			b.WriteString(fragments[random.IntN(len(fragments))])
		}
		return b.String()
	}
	names := []string{
		"X-A", "x-a", "X_b", "Content-Type", "Cache-Control", "Referrer-Policy", "Link", "Expires", "Vary",
		"Content-Security-Policy", "Strict-Transport-Security", "default", "1", "-",
	}
	ended := time.Now().Add(4 * time.Second)
	all := 0
	for tried := 0; tried < 100 || time.Now().Before(ended); tried++ {
		// Keep only accepted rules, so that a file contains many of them.
		var headers, redirects string
		for range 40 {
			name := names[random.IntN(len(names))]
			rule := "/" + text() + "\n  " + name + ": " + text() + "\n  ! " + names[random.IntN(len(names))] + "\n  Y-" + name +
				": " + text() + "\n"
			if _, err := Parse([]byte(rule), nil); err == nil && strings.Count(headers, "\n/") < 90 {
				headers += rule
				all++
			}
			status := []string{"", "", "200", "301", "302!", "303", "307", "308", "404", "410!", "451", "200!"}[random.IntN(12)]
			to := []string{"/", "https://example.org/", "https://example.org?"}[random.IntN(3)] + text()
			rule = "/" + text() + " " + to + " " + status + "\n"
			if _, err := Parse(nil, []byte(rule)); err == nil {
				redirects += rule
				all++
			}
		}
		files, accepted := check(t, []byte(headers), []byte(redirects))
		require.True(t, accepted, "%s\n%s", headers, redirects)
		t.Run("", func(t *testing.T) {
			nginxTest(t, files)
			if t.Failed() {
				t.Logf("_headers:\n%s\n_redirects:\n%s", headers, redirects)
			}
		})
		if t.Failed() {
			return
		}
		if time.Now().After(ended.Add(10 * time.Second)) {
			break
		}
	}
	require.Greater(t, all, 500)
}
