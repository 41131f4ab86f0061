package components

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// visited is a site that answers as server i-old with release r-old until its
// visitors have asked it so many times, and as i-new with r-new from then on.
func visited(t *testing.T, asked int64) (url string) {
	t.Helper()
	var requests atomic.Int64
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		state := "old"
		if requests.Add(1) > asked {
			state = "new"
		}
		switch r.URL.Path {
		case "/.well-known/server":
			fmt.Fprintf(w, `{"server":"i-%s"}`, state)
		case "/.well-known/release":
			fmt.Fprintf(w, `{"release": "r-%s"}`, state)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(site.Close)
	return site.URL
}

func runVisit(t *testing.T, url, server, release, within string) (stdout, stderr string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "bash", "-c", visitScript)
	command.Env = append(os.Environ(), "URL="+url, "SERVER="+server, "RELEASE="+release, "WITHIN="+within)
	var out, errors bytes.Buffer
	command.Stdout, command.Stderr = &out, &errors
	err = command.Run()
	return out.String(), errors.String(), err
}

func TestAVisitEndsWhenTheRightServerServesTheRightRelease(t *testing.T) {
	url := visited(t, 5)
	stdout, stderr, err := runVisit(t, url, "i-new", "r-new", "30")
	require.NoError(t, err, stderr)
	require.Equal(t, url+" is served by i-new with release r-new\n", stdout)
}

func TestAVisitInVainSaysWhatAnsweredInstead(t *testing.T) {
	url := visited(t, 1<<30)
	for name, expected := range map[string]struct{ server, release string }{
		"another server":                     {"i-new", "r-old"},
		"another release":                    {"i-old", "r-new"},
		"a server whose name only begins so": {"i-ol", "r-old"},
	} {
		t.Run(name, func(t *testing.T) {
			_, stderr, err := runVisit(t, url, expected.server, expected.release, "0")
			require.Error(t, err)
			require.Contains(t, stderr, fmt.Sprintf(`should name %s, and is: {"server":"i-old"}`, expected.server))
			require.Contains(t, stderr, fmt.Sprintf(`should name %s, and is: {"release": "r-old"}`, expected.release))
		})
	}
}

func TestAVisitToASiteThatDoesNotAnswerSaysSo(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	_, stderr, err := runVisit(t, closed.URL, "i-new", "r-new", "0")
	require.Error(t, err)
	require.Contains(t, stderr, "404")
	closed.Close()
	_, stderr, err = runVisit(t, closed.URL, "i-new", "r-new", "1")
	require.Error(t, err)
	require.Contains(t, stderr, "Failed to connect")
}
