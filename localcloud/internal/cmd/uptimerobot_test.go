package cmd

import (
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
)

func TestUptimeRobotDoubleRequiresKey(t *testing.T) {
	t.Setenv("UPTIMEROBOT_KEY", "")
	require.ErrorContains(t, Run(t.Context(), []string{"uptimerobot"}), "UPTIMEROBOT_KEY is empty")
}

func TestUptimeRobotDoubleReachesOnlyTheLocalCloud(t *testing.T) {
	queries := make(chan string, 10)
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	nameserver := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		answer := new(dns.Msg).SetReply(question)
		name := question.Question[0].Name
		queries <- name
		switch {
		case name != "no-host-of-this-machine.localcloud.test.":
			answer.Rcode = dns.RcodeRefused
		case question.Question[0].Qtype == dns.TypeA:
			answer.Answer = []dns.RR{
				&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)},
			}
		}
		_ = w.WriteMsg(answer) // fails only if the client has disconnected
	})}
	go func() { _ = nameserver.ActivateAndServe() }() // until the test ends
	t.Cleanup(func() { _ = nameserver.Shutdown() })

	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(site.Close)
	_, port, err := net.SplitHostPort(site.Listener.Addr().String())
	require.NoError(t, err)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	require.NoError(t,
		os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw}), 0o600))

	client, err := localOnlyClient(roots, packets.LocalAddr().String(), map[string]string{"example.com": "127.0.0.1"})
	require.NoError(t, err)
	get := func(name string) error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+net.JoinHostPort(name, port), nil)
		require.NoError(t, err)
		response, err := client.Do(request)
		if err == nil {
			require.Equal(t, http.StatusTeapot, response.StatusCode)
			err = response.Body.Close()
		}
		return err
	}
	// httptest's certificate is valid for example.com.
	require.NoError(t, get("example.com"), "a host with a given address is not resolved")
	require.Empty(t, queries)
	require.ErrorContains(t, get("no-host-of-this-machine.localcloud.test"), "certificate is valid for example.com",
		"the name server resolved the name to the test server")
	require.NotEmpty(t, queries)
	require.ErrorContains(t, get("alert.victorops.com"), "lookup alert.victorops.com")
}
