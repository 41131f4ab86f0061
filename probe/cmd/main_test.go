package main

import (
	"bytes"
	"context"
	"maps"
	"net/netip"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/internal/testsite"
)

type loopback struct{}

func (loopback) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func environment(site testsite.Site) map[string]string {
	return map[string]string{
		"NAME": "example.com", "ADDRESS": site.Address.Addr().String(), "PORT": strconv.Itoa(int(site.Address.Port())),
		"ROOTS":       site.Roots,
		"CERTIFICATE": "valid", "SERVER": "i-1", "RELEASE": "r-1", "WITHIN": "0",
	}
}

func runProbe(variables map[string]string) (code int, stdout, stderr string) {
	var out, errors bytes.Buffer
	code = run(func(name string) string { return variables[name] }, loopback{}, &out, &errors)
	return code, out.String(), errors.String()
}

func TestExitCodeSaysWhetherTheSiteIsServed(t *testing.T) {
	variables := environment(testsite.Start(t, "example.com", testsite.Serving("i-1", "r-1")))
	code, stdout, stderr := runProbe(variables)
	require.Equal(t, 0, code, stderr)
	require.Equal(t, "https://example.com/ is served at 127.0.0.1 by i-1 with release r-1\n", stdout)
	require.Empty(t, stderr)

	variables["RELEASE"] = "r-2"
	code, stdout, stderr = runProbe(variables)
	require.Equal(t, exitFailed, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, `/.well-known/release: expected r-2, got 200: {"release": "r-1"}`)

	delete(variables, "ROOTS")
	code, _, stderr = runProbe(variables)
	require.Equal(t, exitFailed, code, "this machine does not trust the site's authority")
	require.Contains(t, stderr, "x509: ")
}

func TestInvalidSettingsAreNamed(t *testing.T) {
	good := environment(testsite.Start(t, "example.com", testsite.Serving("i-1", "r-1")))
	for name, value := range map[string]string{
		"NAME": "", "SERVER": "", "RELEASE": "", "ADDRESS": "2001:db8::1", "PORT": "https", "CERTIFICATE": "none",
		"ROOTS": os.DevNull, "WITHIN": "-1",
	} {
		t.Run(name, func(t *testing.T) {
			variables := maps.Clone(good)
			variables[name] = value
			code, _, stderr := runProbe(variables)
			require.Equal(t, exitUsage, code)
			require.Contains(t, stderr, name)
		})
	}
	code, _, stderr := runProbe(nil)
	require.Equal(t, exitUsage, code)
	for _, name := range []string{"NAME", "SERVER", "RELEASE", "ADDRESS", "CERTIFICATE", "WITHIN"} {
		require.Contains(t, stderr, name)
	}
}
