package e2e

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/acme"
)

// machineAddress is this machine's address in the local cloud's internet.
const machineAddress = "198.18.0.1"

// mailServer is an SMTP relay that requires STARTTLS and a login, and keeps the messages it receives.
type mailServer struct {
	certificate    tls.Certificate
	user, password string
	received       chan message
}

// message is a received message.
type message struct {
	from string
	to   []string
	text *mail.Message
	body string
}

// startMailServer listens on an address until the test ends.
func startMailServer(t *testing.T, address string, server mailServer) (*mailServer, string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	server.received = make(chan message, 10)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go server.serve(connection)
		}
	}()
	return &server, listener.Addr().String()
}

// serve handles one client. Errors are ignored because the client reports them.
func (s *mailServer) serve(connection net.Conn) {
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(time.Minute))
	text := textproto.NewConn(connection)
	encrypted, loggedIn := false, false
	var current message
	reply := func(format string, args ...any) { _ = text.PrintfLine(format, args...) }
	reply("220 relay ready")
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch verb = strings.ToUpper(verb); {
		case verb == "EHLO" && encrypted:
			reply("250-relay\r\n250-8BITMIME\r\n250 AUTH PLAIN")
		case verb == "EHLO":
			reply("250-relay\r\n250-8BITMIME\r\n250 STARTTLS")
		case verb == "STARTTLS" && !encrypted:
			reply("220 go ahead")
			secure := tls.Server(connection, &tls.Config{Certificates: []tls.Certificate{s.certificate}})
			text, encrypted = textproto.NewConn(secure), true
		case verb == "QUIT":
			reply("221 bye")
			return
		case verb == "NOOP" || verb == "RSET":
			reply("250 ok")
		case !encrypted:
			reply("530 5.7.0 issue STARTTLS first")
		case verb == "AUTH":
			loggedIn = s.login(strings.TrimPrefix(rest, "PLAIN "))
			if !loggedIn {
				reply("535 5.7.8 wrong user or password")
				continue
			}
			reply("235 welcome")
		case !loggedIn:
			reply("530 5.7.0 log in first")
		case verb == "MAIL":
			current = message{from: addressIn(rest)}
			reply("250 ok")
		case verb == "RCPT":
			current.to = append(current.to, addressIn(rest))
			reply("250 ok")
		case verb == "DATA":
			reply("354 go on")
			current.text, err = mail.ReadMessage(bufio.NewReader(text.DotReader()))
			if err != nil {
				reply("554 cannot read the message: %v", err)
				continue
			}
			var body strings.Builder
			if _, err := bufio.NewReader(current.text.Body).WriteTo(&body); err != nil {
				return
			}
			current.body = body.String()
			s.received <- current
			reply("250 taken")
		default:
			reply("502 unknown: %s", verb)
		}
	}
}

// login checks the initial response of AUTH PLAIN.
func (s *mailServer) login(encoded string) bool {
	given, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && string(given) == "\x00"+s.user+"\x00"+s.password
}

// addressIn returns the address in an argument such as FROM:<a@b> SIZE=1.
func addressIn(argument string) string {
	_, after, _ := strings.Cut(argument, "<")
	address, _, _ := strings.Cut(after, ">")
	return address
}

// TestMailServerRequiresEncryptionAndALogin tests that the tests' relay is as strict as a real one.
func TestMailServerRequiresEncryptionAndALogin(t *testing.T) {
	certificate, roots := selfSigned(t, "relay.example")
	server, address := startMailServer(t, "127.0.0.1:0",
		mailServer{certificate: certificate, user: "noreply", password: "right"})
	send := func(encrypt bool, password string) error {
		client, err := smtp.Dial(address)
		require.NoError(t, err)
		defer func() { _ = client.Close() }()
		if encrypt {
			require.NoError(t, client.StartTLS(&tls.Config{RootCAs: roots, ServerName: "relay.example"}))
			if err := client.Auth(smtp.PlainAuth("", "noreply", password, "127.0.0.1")); err != nil {
				return err
			}
		}
		if err := client.Mail("noreply@site.example"); err != nil {
			return err
		}
		require.NoError(t, client.Rcpt("clinic@example.org"))
		data, err := client.Data()
		require.NoError(t, err)
		_, err = data.Write([]byte("Subject: Hello\r\n\r\nA text.\r\n.with a dot\r\n"))
		require.NoError(t, err)
		return data.Close()
	}
	require.ErrorContains(t, send(false, ""), "issue STARTTLS first")
	require.ErrorContains(t, send(true, "wrong"), "wrong user or password")
	require.NoError(t, send(true, "right"))
	require.Len(t, server.received, 1)
	got := <-server.received
	require.Equal(t, "noreply@site.example", got.from)
	require.Equal(t, []string{"clinic@example.org"}, got.to)
	require.Equal(t, "Hello", got.text.Header.Get("Subject"))
	require.Equal(t, "A text.\n.with a dot\n", got.body)
}

func selfSigned(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// admit lets the local cloud reach ports of this machine until the test ends. Otherwise, instances cannot reach any.
func (p *project) admit(t *testing.T, ports string) {
	t.Helper()
	inserted := p.must(t, time.Minute, "nft", "--echo", "--handle", "insert", "rule", "ip", "localcloud", "input",
		"iifname", "localcloud", "ip", "daddr", machineAddress, "tcp", "dport", "{ "+ports+" }", "accept")
	handle := regexp.MustCompile(`# handle (\d+)`).FindStringSubmatch(inserted)
	require.NotNil(t, handle, inserted)
	t.Cleanup(func() {
		p.must(t, time.Minute, "nft", "delete", "rule", "ip", "localcloud", "input", "handle", handle[1])
	})
}

// certify obtains a certificate from the local cloud's CA, with an HTTP-01 challenge, for a name that resolves to this
// machine. Port 80 must be admitted.
func (p *project) certify(t *testing.T, name string) tls.Certificate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	account, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return issue(ctx, t, &acme.Client{
		Key: account, DirectoryURL: "https://acme.localcloud.test/dir", HTTPClient: p.client(t, 20*time.Second),
	}, name, machineAddress+":80")
}

// issue performs the steps of ACME and serves the challenge responses at an address.
func issue(ctx context.Context, t *testing.T, client *acme.Client, name, address string) tls.Certificate {
	t.Helper()
	_, err := client.Register(ctx, &acme.Account{}, acme.AcceptTOS)
	require.NoError(t, err)
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(name))
	require.NoError(t, err)
	for _, url := range order.AuthzURLs {
		authorization, err := client.GetAuthorization(ctx, url)
		require.NoError(t, err)
		if authorization.Status == acme.StatusValid {
			continue
		}
		var challenge *acme.Challenge
		for _, offered := range authorization.Challenges {
			if offered.Type == "http-01" {
				challenge = offered
			}
		}
		require.NotNil(t, challenge, "%s offers no HTTP-01 challenge", url)
		response, err := client.HTTP01ChallengeResponse(challenge.Token)
		require.NoError(t, err)
		stop := serveChallenge(t, address, client.HTTP01ChallengePath(challenge.Token), response)
		_, err = client.Accept(ctx, challenge)
		require.NoError(t, err)
		_, err = client.WaitAuthorization(ctx, url)
		require.NoError(t, err)
		stop()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	require.NoError(t, err)
	orderURL := order.URI
	order, err = client.WaitOrder(ctx, orderURL)
	require.NoError(t, err)
	// CreateOrderCert requests the certificate but does not wait at the order's URL.
	_, _, unfinished := client.CreateOrderCert(ctx, order.FinalizeURL, request, true)
	order, err = client.WaitOrder(ctx, orderURL)
	require.NoError(t, err)
	chain, err := client.FetchCert(ctx, order.CertURL, true)
	require.NoError(t, err, "%v", unfinished)
	return tls.Certificate{Certificate: chain, PrivateKey: key}
}

func serveChallenge(t *testing.T, address, path, response string) (stop func()) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, response) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	return func() { require.NoError(t, server.Close()) }
}
