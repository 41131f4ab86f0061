package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
)

// environment returns the settings of a bake of i-2, which got the VIP from i-1. According to EC2, holder has the VIP.
func environment(t *testing.T, holder string) map[string]string {
	t.Helper()
	ec2 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		query, err := url.ParseQuery(string(body))
		if err != nil || query.Get("Action") != "DescribeAddresses" || query.Get("AllocationId.1") != "eipalloc-1" {
			w.WriteHeader(http.StatusBadRequest)
		}
		fmt.Fprintf(w, "<R><addressesSet><item><instanceId>%s</instanceId></item></addressesSet></R>", holder)
	}))
	t.Cleanup(ec2.Close)
	s3 := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s3.Close)
	return map[string]string{
		"REGION": "eu-central-1", "ALLOCATION_ID": "eipalloc-1", "NAME": "example.com", "ADDRESS": "127.0.0.1",
		"ROOTS":  testsite.Start(t, "example.com", testsite.Serving("i-2", "r-1")).Roots,
		"SERVER": "i-2", "PREVIOUS": "i-1", "BUCKET": "backup-1", "BAKE": `{"Time": 0}`,
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_ENDPOINT_URL_EC2": ec2.URL, "AWS_ENDPOINT_URL_S3": s3.URL,
	}
}

func runBake(variables map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errors bytes.Buffer
	code = run(args, func(name string) string { return variables[name] }, &out, &errors)
	return code, out.String(), errors.String()
}

func TestPreviousPrintsTheHolderOfTheVIPAndNothingElse(t *testing.T) {
	for _, holder := range []string{"i-1", ""} {
		code, stdout, stderr := runBake(environment(t, holder), "previous")
		require.Equal(t, 0, code, stderr)
		require.Equal(t, holder, stdout)
	}
	variables := environment(t, "i-1")
	variables["ALLOCATION_ID"] = "eipalloc-2"
	code, stdout, stderr := runBake(variables, "previous")
	require.Equal(t, exitFailed, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "cannot read which server holds the VIP: 400 Bad Request")
}

func TestExitCodeSaysWhetherTheServerKeepsTheVIP(t *testing.T) {
	code, stdout, stderr := runBake(environment(t, "i-2"), "watch")
	require.Equal(t, 0, code, stderr)
	require.Equal(t, "server i-2 keeps the VIP", stdout)

	variables := environment(t, "i-2")
	variables["PREVIOUS"] = ""
	code, _, stderr = runBake(variables, "watch")
	require.Equal(t, 0, code, stderr)
	require.Contains(t, stderr, "no other server held the VIP before")

	code, stdout, stderr = runBake(environment(t, "i-1"), "watch")
	require.Equal(t, exitFailed, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "the VIP is at i-1, not at i-2")
}

func TestInvalidSettingsAreNamed(t *testing.T) {
	good := environment(t, "i-2")
	for name, value := range map[string]string{
		"REGION": "", "ALLOCATION_ID": "", "NAME": "", "ADDRESS": "2001:db8::1", "ROOTS": os.DevNull, "SERVER": "",
		"BUCKET": "", "BAKE": "soon",
	} {
		t.Run(name, func(t *testing.T) {
			variables := maps.Clone(good)
			variables[name] = value
			code, stdout, stderr := runBake(variables, "watch")
			require.Equal(t, exitUsage, code)
			require.Empty(t, stdout)
			require.Contains(t, stderr, name)
		})
	}
	code, _, stderr := runBake(nil, "watch")
	require.Equal(t, exitUsage, code)
	for _, name := range []string{"REGION", "ALLOCATION_ID", "NAME", "ADDRESS", "SERVER", "BUCKET", "BAKE"} {
		require.Contains(t, stderr, name)
	}
	code, _, stderr = runBake(nil, "previous")
	require.Equal(t, exitUsage, code)
	require.Contains(t, stderr, "REGION is not set")
}

func TestInvalidCommandLinePrintsTheUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"watch", "previous"}, {"look"}} {
		code, _, stderr := runBake(environment(t, "i-2"), args...)
		require.Equal(t, exitUsage, code, args)
		require.Equal(t, "usage: bake previous|watch\n", stderr)
	}
}

// A killed update no longer reads the output.
func TestBakeOutlivesItsReader(t *testing.T) {
	const marker = "BAKE_WITHOUT_READER"
	if os.Getenv(marker) != "" {
		os.Exit(run(nil, os.Getenv, os.Stdout, os.Stderr))
	}
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	defer writer.Close()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	command.Env, command.Stderr = append(os.Environ(), marker+"=1"), writer
	var exit *exec.ExitError
	require.ErrorAs(t, command.Run(), &exit)
	require.Equal(t, exitUsage, exit.ExitCode(), exit)
}
