package server

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testtool"
)

// relay is an SMTP server on this machine. It accepts mail only after a login over TLS.
type relay struct {
	port  int
	roots []byte
	// message receives each accepted message: the lines of its envelope, then its text.
	message chan string
}

const relayUser, relayPassword = `site@example.org`, `a "b" #c \d $e`

func newRelay(t *testing.T, implicitTLS, startTLS bool) *relay {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	r := &relay{
		port: listener.Addr().(*net.TCPAddr).Port, message: make(chan string, 10),
		roots: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			if implicitTLS {
				connection = tls.Server(connection, config)
			}
			go r.serve(connection, config, implicitTLS, startTLS)
		}
	}()
	return r
}

// serve speaks SMTP on a connection.
func (r *relay) serve(connection net.Conn, config *tls.Config, encrypted, startTLS bool) {
	defer func() { _ = connection.Close() }()
	lines := bufio.NewReader(connection)
	say := func(text string) { _, _ = io.WriteString(connection, text+"\r\n") }
	say("220 relay")
	known, envelope := false, ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch {
		case verb == "EHLO":
			envelope = "EHLO " + rest + "\n"
			if startTLS && !encrypted {
				say("250-relay\r\n250 STARTTLS")
			} else {
				say("250-relay\r\n250 AUTH PLAIN")
			}
		case verb == "STARTTLS" && startTLS:
			say("220 go on")
			connection = tls.Server(connection, config)
			lines, encrypted = bufio.NewReader(connection), true
		case verb == "AUTH":
			known = encrypted &&
				rest == "PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00"+relayUser+"\x00"+relayPassword))
			if known {
				say("235 welcome")
			} else {
				say("535 who are you")
			}
		case !known:
			say("530 log in")
		case verb == "MAIL" || verb == "RCPT":
			envelope += line + "\n"
			say("250 ok")
		case verb == "DATA":
			say("354 go on")
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				envelope += strings.ReplaceAll(line, "\r\n", "\n")
			}
			r.message <- envelope
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return
		default:
			say("500 what")
		}
	}
}

// throughRelay returns settings that send mail through a relay.
func throughRelay(relay *relay) Settings {
	return Settings{SMTPHost: "localhost", SMTPPort: relay.port, SMTPUser: relayUser, SMTPFrom: "noreply@example.org"}
}

// direct returns a configuration of msmtp that bypasses the service mail.
func (r *relay) direct(mail Settings, password string) string {
	return strings.NewReplacer("host mail\n", "host 127.0.0.1\n", "port 2525\n",
		fmt.Sprintf("port %d\n", r.port)).Replace(mail.msmtprc(password))
}

// phpImage is a directory with the files of PHP's image.
type phpImage struct {
	dir, tmp string
	inside   *strings.Replacer
}

// newPHPImage creates the files, with a configuration of msmtp and its trusted roots. listen is the path of PHP's
// socket, or "" if PHP itself does not run.
func newPHPImage(t *testing.T, listen, configuration string, roots []byte) phpImage {
	t.Helper()
	dir := t.TempDir()
	// If root runs the test, PHP runs as another user.
	for path := dir; path != os.TempDir(); path = filepath.Dir(path) {
		require.NoError(t, os.Chmod(path, 0o755))
	}
	image := phpImage{dir: dir, tmp: filepath.Join(dir, "tmp")}
	require.NoError(t, os.Mkdir(image.tmp, 0o755))
	require.NoError(t, os.Chmod(image.tmp, 0o777))
	image.inside = strings.NewReplacer("/usr/share/site/", dir+"/", "/tmp/", image.tmp+"/", "/srv/site/", dir+"/site/",
		"/srv/site", dir+"/site",
		"/etc/msmtprc", dir+"/msmtprc", "/run/roots.pem", dir+"/roots.pem", "/dev/stderr", dir+"/tmp/error.log",
		"/run/fastcgi/php.sock", listen, "listen.mode = 0600", "listen.mode = 0666")
	for _, name := range []string{"php-fpm.conf", "site.ini", "probe.php", "sendmail"} {
		text, err := files.ReadFile("files/php/" + name)
		require.NoError(t, err)
		image.write(t, name, string(text))
	}
	image.write(t, "msmtprc", configuration)
	// msmtp rejects a file with a password if it belongs to another user or is readable by others.
	require.NoError(t, os.Chmod(filepath.Join(dir, "msmtprc"), 0o400))
	if os.Geteuid() == 0 && listen != "" {
		require.NoError(t, os.Chown(filepath.Join(dir, "msmtprc"), 65534, 65534))
	}
	image.write(t, "roots.pem", string(roots))
	image.write(t, "site/releases/1/site/index.html", "front page")
	require.NoError(t, os.Symlink("releases/1", filepath.Join(dir, "site/current")))
	return image
}

func (p phpImage) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(p.inside.Replace(text)), 0o644))
}

func TestMailGoesToTheRelayByVerifiedTLSOrNotAtAll(t *testing.T) {
	program(t, "msmtp")
	other := newRelay(t, false, true)
	for name, test := range map[string]struct {
		implicitTLS, startTLS, foreignRoots bool
		password, trouble                   string
	}{
		"STARTTLS":           {startTLS: true, password: relayPassword},
		"TLS from the start": {implicitTLS: true, password: relayPassword},
		"an untrusted certificate": {
			startTLS:     true,
			foreignRoots: true,
			password:     relayPassword,
			trouble:      "TLS certificate verification failed",
		},
		"a relay without TLS": {password: relayPassword, trouble: "server does not support TLS via the STARTTLS command"},
		"a wrong password":    {startTLS: true, password: "wrong", trouble: "authentication failed"},
	} {
		t.Run(name, func(t *testing.T) {
			relay := newRelay(t, test.implicitTLS, test.startTLS)
			mail := throughRelay(relay)
			if test.implicitTLS {
				mail.SMTPPort = SubmissionsPort
			}
			roots := relay.roots
			if test.foreignRoots {
				roots = other.roots
			}
			image := newPHPImage(t, "", relay.direct(mail, test.password), roots)
			// A script may add the last argument to send mail with another sender.
			command := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(image.dir, "sendmail"),
				"-fsomebody@example.com")
			command.Stdin = strings.NewReader("To: ada@example.org\nSubject: hello\n\nfirst\n.\nlast\n")
			output, err := command.CombinedOutput()
			if test.trouble != "" {
				require.Error(t, err)
				require.Contains(t, string(output), test.trouble)
				require.NotContains(t, string(output), relayPassword)
				require.Empty(t, relay.message)
				return
			}
			require.NoError(t, err, "%s", output)
			message := <-relay.message
			for _, part := range []string{
				"EHLO example.org\n", "MAIL FROM:<noreply@example.org>", "RCPT TO:<ada@example.org>", "Subject: hello\n",
				"From: noreply@example.org\n", "first\n..\nlast\n",
			} {
				require.Contains(t, message, part)
			}
		})
	}
}

func TestWithoutARelayTheLogSaysWhyNoMailIsSent(t *testing.T) {
	image := newPHPImage(t, "", (&Settings{}).msmtprc(""), nil)
	output, err := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(image.dir, "sendmail")).CombinedOutput()
	require.Error(t, err)
	require.Equal(t, "cannot send mail: no relay is configured; set smtpHost\n", string(output))
}

// php is a running PHP with the configuration of its image.
type php struct {
	phpImage
	address string
}

func newPHP(t *testing.T, configuration string, roots []byte, arguments ...string) php {
	t.Helper()
	fpm := program(t, "php-fpm8.4", "php-fpm8.2")
	// The package of an unpacked PHP has not enabled its extensions.
	version := strings.TrimPrefix(filepath.Base(fpm), "php-fpm")
	t.Setenv("PHP_INI_SCAN_DIR", filepath.Join("/etc/php", version, "mods-available"))
	p := php{address: filepath.Join(socketDir(t), "php.sock")}
	p.phpImage = newPHPImage(t, p.address, configuration, roots)
	(&webServer{T: t}).start(append([]string{
		fpm, "--nodaemonize", "--fpm-config", filepath.Join(p.dir, "php-fpm.conf"), "-c", filepath.Join(p.dir, "site.ini"),
	}, arguments...)...)
	require.Eventually(t, func() bool {
		connection, err := net.Dial("unix", p.address)
		return err == nil && connection.Close() == nil
	}, 20*time.Second, 20*time.Millisecond)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("error.log:\n%s", p.log(t))
		}
	})
	return p
}

// log returns PHP's log so far.
func (p php) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.tmp, "error.log"))
	require.NoError(t, err)
	return string(text)
}

// run runs a script of the release, as nginx would.
func (p php) run(t *testing.T, script string, parameters map[string]string, body string) (answer string) {
	t.Helper()
	p.write(t, "site/releases/1/site/script.php", script)
	return p.runFile(t, filepath.Join(p.dir, "site/releases/1/site/script.php"), parameters, body)
}

// runFile runs a script by FastCGI, for which the standard library has no client.
func (p php) runFile(t *testing.T, path string, parameters map[string]string, body string) (answer string) {
	t.Helper()
	connection, err := net.Dial("unix", p.address)
	require.NoError(t, err)
	defer func() { require.NoError(t, connection.Close()) }()
	require.NoError(t, connection.SetDeadline(time.Now().Add(20*time.Second)))
	const begin, params, stdin, stdout, stderr, end = 1, 4, 5, 6, 7, 3
	var request []byte
	record := func(kind byte, content string) {
		for first := true; first || content != ""; first = false {
			part := content[:min(len(content), 65535)]
			content = content[len(part):]
			request = append(request, 1, kind, 0, 1)
			request = binary.BigEndian.AppendUint16(request, uint16(len(part)))
			request = append(append(request, 0, 0), part...)
		}
	}
	record(begin, "\x00\x01\x00\x00\x00\x00\x00\x00")
	pairs := ""
	all := map[string]string{
		"REQUEST_METHOD":  "GET",
		"SCRIPT_FILENAME": path,
		"SCRIPT_NAME":     "/" + filepath.Base(path),
		"CONTENT_LENGTH":  strconv.Itoa(len(body)),
	}
	for name, value := range parameters {
		all[name] = value
	}
	for name, value := range all {
		pairs += string([]byte{byte(len(name)), byte(len(value))}) + name + value
	}
	record(params, pairs)
	record(params, "")
	if body != "" {
		record(stdin, body)
	}
	record(stdin, "")
	_, err = connection.Write(request)
	require.NoError(t, err)
	for {
		header := make([]byte, 8)
		_, err := io.ReadFull(connection, header)
		require.NoError(t, err)
		content := make([]byte, int(binary.BigEndian.Uint16(header[4:]))+int(header[6]))
		_, err = io.ReadFull(connection, content)
		require.NoError(t, err)
		switch content = content[:len(content)-int(header[6])]; header[1] {
		case stdout:
			answer += string(content)
		case stderr:
			t.Logf("PHP: %s", content)
		case end:
			return strings.ReplaceAll(answer, "\r\n", "\n")
		}
	}
}

func TestProbeReportsWhatPHPLacks(t *testing.T) {
	p := newPHP(t, "", nil)
	probe := func() string { return p.runFile(t, filepath.Join(p.dir, "probe.php"), nil, "") }
	answer := probe()
	require.True(t, strings.HasSuffix(answer, "\n\nok\n"), answer)
	left, err := filepath.Glob(filepath.Join(p.tmp, "[ps]*_*"))
	require.NoError(t, err)
	require.Empty(t, left, "it cleans up after itself")

	require.NoError(t,
		os.Rename(filepath.Join(p.dir, "site/releases/1/site"), filepath.Join(p.dir, "site/releases/1/gone")))
	answer = probe()
	require.NotContains(t, answer, "Status:")
	require.Contains(t, answer, "cannot read the release")

	require.NoError(t, os.Chmod(p.tmp, 0o555))
	answer = probe()
	require.NoError(t, os.Chmod(p.tmp, 0o777))
	require.Contains(t, answer, "cannot start a session")
	require.Contains(t, answer, "cannot write a file below /tmp")
}

func TestAScriptReadsTheReleaseAndTmpAndNothingElse(t *testing.T) {
	p := newPHP(t, "password\n", nil)
	answer := p.run(t, `<?php
foreach (['/etc/hostname', '/etc/msmtprc', '/usr/share/site/sendmail', '/run/roots.pem'] as $path) {
	echo @file_get_contents($path) === false ? 'closed ' : "open: $path ";
}
foreach (['exec', 'passthru', 'pcntl_exec', 'popen', 'proc_open', 'shell_exec', 'system'] as $function) {
	echo function_exists($function) ? "runs: $function " : '';
}
echo @file_put_contents('/tmp/mine', 'x') === 1 ? 'written' : 'not written';`, nil, "")
	require.True(t, strings.HasSuffix(answer, "\n\nclosed closed closed closed written"), answer)
}

func TestASessionIsKeptByACookieThatOnlyHTTPSSends(t *testing.T) {
	p := newPHP(t, "", nil)
	const script = `<?php session_start(); echo 'visit ', $_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;`
	answer := p.run(t, script, nil, "")
	require.Contains(t, answer, "\n\nvisit 1")
	_, cookie, _ := strings.Cut(answer, "Set-Cookie: ")
	cookie, attributes, _ := strings.Cut(strings.SplitN(cookie, "\n", 2)[0], ";")
	require.Equal(t, " path=/; secure; HttpOnly; SameSite=Lax", attributes)

	require.Contains(t, p.run(t, script, map[string]string{"HTTP_COOKIE": cookie}, ""), "\n\nvisit 2")
	answer = p.run(t, script, map[string]string{"HTTP_COOKIE": "PHPSESSID=chosenbysomebodyelse0000000"}, "")
	require.Contains(t, answer, "\n\nvisit 1")
	require.Contains(t, answer, "Set-Cookie: PHPSESSID=", "a session id that PHP did not create must be rejected")
}

func TestUploadsOfUpTo15MBAreAccepted(t *testing.T) {
	p := newPHP(t, "", nil)
	upload := func(size int) string {
		body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\n\r\n" + strings.Repeat("x",
			size) + "\r\n--b--\r\n"
		return p.run(t,
			`<?php echo $_FILES['file']['error'], ' ', filesize($_FILES['file']['tmp_name'] ?: '/tmp/'), ' ', ini_get('max_file_uploads');`,
			map[string]string{"REQUEST_METHOD": "POST", "CONTENT_TYPE": "multipart/form-data; boundary=b"}, body)
	}
	require.Contains(t, upload(15<<20), fmt.Sprintf("\n\n0 %d 10", 15<<20))
	require.Contains(t, upload(15<<20+1), "\n\n1 ", "UPLOAD_ERR_INI_SIZE")
}

func TestMailOfAScriptArrives(t *testing.T) {
	program(t, "msmtp")
	relay := newRelay(t, false, true)
	p := newPHP(t, relay.direct(throughRelay(relay), relayPassword), relay.roots)
	require.Contains(t,
		p.run(t,
			`<?php var_dump(mail('ada@example.org', 'hello', "first\nlast", 'Reply-To: zoe@example.com', '-fzoe@example.com'));`,
			nil, ""), "bool(true)")
	message := <-relay.message
	for _, part := range []string{
		"MAIL FROM:<noreply@example.org>", "RCPT TO:<ada@example.org>", "Reply-To: zoe@example.com\n", "first\nlast\n",
	} {
		require.Contains(t, message, part)
	}

	without := newPHP(t, "", nil)
	require.Contains(t, without.run(t, `<?php var_dump(mail('ada@example.org', 'hello', 'text'));`, nil, ""),
		"bool(false)")
	require.Eventually(t, func() bool { return strings.Contains(without.log(t), "no relay is configured") }, 5*time.Second,
		20*time.Millisecond)
}

// mailThrough starts the program of the service mail for a relay, and returns msmtp's configuration.
func mailThrough(t *testing.T, relay *relay) string {
	t.Helper()
	service := composeServices(t, "compose.yaml")["mail"]
	socat := program(t, service.Entrypoint[0])
	mail := throughRelay(relay)
	_, port, err := net.SplitHostPort(freeAddress(t))
	require.NoError(t, err)
	inside := strings.NewReplacer("${SMTP-}", mail.relay(), "2525", port)
	var args []string
	for _, arg := range service.Entrypoint[1:] {
		args = append(args, inside.Replace(arg))
	}
	(&webServer{T: t}).start(append([]string{socat}, args...)...)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	check := service.HealthCheck.Test[1:]
	require.Eventually(t, func() bool {
		pattern := strings.Replace(check[2], "09DD", fmt.Sprintf("%04X", number), 1)
		return exec.CommandContext(t.Context(), check[0], check[1], pattern, check[3]).Run() == nil
	}, 20*time.Second, 20*time.Millisecond, "the service's health check")
	return strings.NewReplacer("host mail\n", "host 127.0.0.1\n", "port 2525\n",
		"port "+port+"\n").Replace(mail.msmtprc(relayPassword))
}

func TestMailPassesThroughWithoutBeingRead(t *testing.T) {
	program(t, "msmtp")
	relay, stranger := newRelay(t, false, true), newRelay(t, false, true)
	for name, roots := range map[string][]byte{
		"a relay that is trusted":  relay.roots,
		"another one in its place": stranger.roots,
	} {
		image := newPHPImage(t, "", mailThrough(t, relay), roots)
		command := exec.CommandContext(t.Context(), "/bin/sh", filepath.Join(image.dir, "sendmail"))
		command.Stdin = strings.NewReader("To: ada@example.org\nSubject: hello\n\ntext\n")
		output, err := command.CombinedOutput()
		if &roots[0] == &relay.roots[0] {
			require.NoError(t, err, "%s: %s", name, output)
			require.Contains(t, <-relay.message, "MAIL FROM:<noreply@example.org>")
			continue
		}
		require.Error(t, err, name)
		require.Contains(t, string(output), "TLS certificate verification failed", name)
		require.Empty(t, relay.message)
	}
}

func TestScriptsOpenURLsOnlyWithANetwork(t *testing.T) {
	for internal, fopen := range map[string]string{"true": "Off", "false": "On", "": "Off"} {
		dir := t.TempDir()
		testtool.WriteProgram(t, filepath.Join(dir, "php-fpm8.4"), "#!/bin/sh\necho \"$*\"\n")
		for path, text := range map[string]string{"certs/ca-certificates.crt": "system\n", "acme/acme-ca.pem": "acme\n"} {
			path = filepath.Join(dir, "etc", "ssl", path)
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}
		require.NoError(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
		command := exec.CommandContext(t.Context(), "/bin/sh", "files/php/entrypoint", dir)
		command.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "PHP_INTERNAL=" + internal}
		output, err := command.CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "--nodaemonize -d allow_url_fopen="+fopen+"\n", string(output))
		roots, err := os.ReadFile(filepath.Join(dir, "run", "roots.pem"))
		require.NoError(t, err)
		require.Equal(t, "system\nacme\n", string(roots))
	}

	const script = `<?php echo ini_get('allow_url_fopen') ? 'on' : 'off';`
	p := newPHP(t, "", nil)
	require.Contains(t, p.run(t, script, nil, ""), "\n\noff")
	require.Contains(t, newPHP(t, "", nil, "-d", "allow_url_fopen=On").run(t, script, nil, ""), "\n\non")
}
