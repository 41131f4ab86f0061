package components

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBakeOutlivesTheShell: if Pulumi is killed, its plugin kills only the shell.
func TestBakeOutlivesTheShell(t *testing.T) {
	requests, killed := make(chan string, 10), make(chan struct{})
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Method
		<-killed
		if r.Method == http.MethodPost {
			_, _ = w.Write([]byte(`<DescribeAddressesResponse><addressesSet><item><instanceId>i-2</instanceId></item>` +
				`</addressesSet></DescribeAddressesResponse>`))
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(aws.Close)
	awaitRequest := func(method string) {
		select {
		case got := <-requests:
			require.Equal(t, method, got)
		case <-time.After(2 * time.Minute):
			require.Fail(t, "the bake sent no request within 2 min")
		}
	}
	shell := exec.CommandContext(t.Context(), "bash", "-c", goRunToTheEnd("bake", "watch"))
	shell.Dir = ".."
	shell.Env = append(os.Environ(), "AWS_ENDPOINT_URL="+aws.URL, "AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=secret",
		"REGION=us-east-1", "ALLOCATION_ID=eipalloc-1", "SERVER=i-2", "PREVIOUS=i-1", "BUCKET=backup", "BAKE={}",
		"NAME=localhost", "ADDRESS=127.0.0.1")
	require.NoError(t, shell.Start())
	awaitRequest(http.MethodPost)
	require.NoError(t, shell.Process.Kill())
	require.Error(t, shell.Wait())
	close(killed)
	// It looks for the record of an earlier bake.
	awaitRequest(http.MethodGet)
}
