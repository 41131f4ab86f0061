package uptime

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	testKey     = "u1234567-0123456789abcdef01234567"
	testWebhook = "https://alert.victorops.com/integrations/uptimerobot/20131114/alert/" +
		"b0d7a4c2-5e0f-4c57-9c63-10ca1c10bd00/site?"
)

// clientOf returns a client of an API that handler serves. It does not wait; waits records the pauses.
func clientOf(t *testing.T, handler http.HandlerFunc) (c *Client, waits *[]time.Duration) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := NewClient(Account{API: server.URL + "/v3/", Key: testKey, Webhook: testWebhook},
		func(message string) { t.Log(message) })
	require.NoError(t, err)
	waits = &[]time.Duration{}
	c.pause = func(ctx context.Context, length time.Duration) error {
		*waits = append(*waits, length)
		c.notBefore = time.Time{}
		return ctx.Err()
	}
	return c, waits
}

func TestInconsistentJSONOfTheAPIIsDecoded(t *testing.T) {
	var m monitor
	require.NoError(t,
		json.Unmarshal([]byte(`{"id": "12", "friendlyName": "a &amp; &#39;b&#39;", "interval": "30", "timeout": null,
		"keywordCaseType": null, "keywordValue": "&quot;release&quot;", "assignedAlertContacts": [{"alertContactId": 7}, {"alertContactId": "8"}]}`), &m))
	require.Equal(t, int64(12), m.id())
	require.Equal(t, "a & 'b'", m.name())
	require.Equal(t, number(30), m.Interval)
	require.Equal(t, text(`"release"`), m.KeywordValue)
	require.Equal(t, number(7), m.Contacts[0].ID)
	require.Equal(t, number(8), m.Contacts[1].ID)
	for written, is := range map[string]flag{
		`true`: true, `"true"`: true, `"1"`: true, `1`: true, `"False"`: false, `null`: false, `""`: false, `"0"`: false,
	} {
		var f flag
		require.NoError(t, json.Unmarshal([]byte(written), &f), written)
		require.Equal(t, is, f, written)
	}
	for _, into := range []any{new(number), new(flag)} {
		require.Error(t, json.Unmarshal([]byte(`"many"`), into))
	}
}

func TestSecretsAreRedactedInEveryEncoding(t *testing.T) {
	r := newRedactor(`key"with&odd<letters`, testWebhook)
	for _, message := range []string{
		`key"with&odd<letters`, `key\"with\u0026odd\u003cletters`, `key&#34;with&amp;odd&lt;letters`,
		`key%22with%26odd%3Cletters`,
		testWebhook, "b0d7a4c2-5e0f-4c57-9c63-10ca1c10bd00",
	} {
		require.Equal(t, "said: (secret).", r.redact("said: "+message+"."))
	}
	require.Equal(t, "the contact (e-mail) is not confirmed",
		newRedactor("", "").redact("the contact ada.o'brien+site@mail.example.org is not confirmed"))
	require.Equal(t, "nothing", newRedactor("", "").redact("nothing"))
}

func TestLongResponseIsRedactedBeforeItIsCut(t *testing.T) {
	body := make([]byte, maxMessage-10)
	for i := range body {
		body[i] = '.'
	}
	e := newAPIError(500, append(body, testKey...), newRedactor(testKey, ""))
	require.NotContains(t, e.Error(), testKey[:8])
	require.Len(t, e.Message, maxMessage-10+len("(secret)"))
}

func TestNextRequestWaitsForTheRateLimit(t *testing.T) {
	for name, test := range map[string]struct {
		header map[string]string
		status int
		wait   time.Duration
	}{
		"by the limit's header": {map[string]string{"X-RateLimit-Reset": "7"}, 429, 7 * time.Second},
		"by HTTP's header":      {map[string]string{"Retry-After": "9"}, 429, 9 * time.Second},
		"without one":           {nil, 429, time.Minute},
		"an absurd one":         {map[string]string{"X-RateLimit-Reset": "1764115200"}, 429, maxPause},
		"when no request is left": {
			map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "5"}, 200, 5 * time.Second,
		},
		"not when requests are left": {map[string]string{"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "5"}, 200, 0},
		"not without a limit":        {map[string]string{"X-RateLimit-Remaining": "0"}, 200, 0},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			c, waits := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
				requests++
				if requests == 1 {
					for header, value := range test.header {
						w.Header().Set(header, value)
					}
					w.WriteHeader(test.status)
				}
				_, _ = w.Write([]byte("{}"))
			})
			require.NoError(t, c.call(t.Context(), http.MethodGet, "/a", nil, nil))
			require.NoError(t, c.call(t.Context(), http.MethodGet, "/b", nil, nil))
			if test.wait == 0 {
				require.Empty(t, *waits)
				return
			}
			require.Len(t, *waits, 1)
			require.InDelta(t, test.wait.Seconds(), (*waits)[0].Seconds(), 0.5)
		})
	}
}

func TestOnlyTemporaryErrorsAreRetriedWithBackoff(t *testing.T) {
	for status, attempted := range map[int]int{
		500: attempts, 503: attempts, 408: attempts, 400: 1, 401: 1, 403: 1, 404: 1, 302: 1,
	} {
		requests := 0
		c, waits := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { requests++; w.WriteHeader(status) })
		err := c.call(t.Context(), http.MethodGet, "/a", nil, nil)
		require.Equal(t, status, statusOf(err))
		require.Equal(t, attempted, requests, "status %d", status)
		for i, wait := range *waits {
			require.Equal(t, firstPause<<i, wait)
		}
	}
	requests := 0
	c, _ := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { requests++; w.WriteHeader(http.StatusBadGateway) })
	var lost *lostError
	require.ErrorAs(t, c.call(t.Context(), http.MethodPost, "/a", map[string]int{}, nil), &lost,
		"a repeated request could create two resources")
	require.Equal(t, 1, requests)
}

func TestAListThatNeverEndsIsAnError(t *testing.T) {
	c, _ := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data": [{"id": 1}], "nextLink": "https://elsewhere.example/v3/monitors?cursor=1"}`))
	})
	_, err := list[monitor](t.Context(), c, monitorsPath)
	require.ErrorIs(t, err, errBroken)

	last := 0
	c, _ = clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "Bearer "+testKey, r.Header.Get("Authorization"))
		last++
		fmt.Fprintf(w, `{"data": [], "nextLink": "https://elsewhere.example/v3/monitors?cursor=%d"}`, last)
	})
	_, err = list[monitor](t.Context(), c, monitorsPath)
	require.ErrorContains(t, err, "more than 500 pages")
	require.Equal(t, maxPages, last, "all pages must be requested from the API itself")
}

func TestCertificateOfTheAPIIsVerifiedWithTheConfiguredRoots(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"data": []}`))
	}))
	t.Cleanup(server.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	account := Account{API: server.URL, Key: testKey, Roots: roots}
	ignore := func(string) {}
	_, err := NewClient(account, ignore)
	require.ErrorContains(t, err, "authorities of UptimeRobot's API")
	require.NoError(t, os.WriteFile(roots, []byte("none"), 0o600))
	_, err = NewClient(account, ignore)
	require.ErrorContains(t, err, "there is no certificate in "+roots)
	require.NoError(t,
		os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	c, err := NewClient(account, ignore)
	require.NoError(t, err)
	_, err = list[monitor](t.Context(), c, monitorsPath)
	require.NoError(t, err)

	_, err = NewClient(Account{API: "api.uptimerobot.com"}, ignore)
	require.ErrorContains(t, err, "write one such as "+API)
}
