package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorNamesWrongInputWithoutTheKey(t *testing.T) {
	for name, test := range map[string]struct {
		within, stdin, expected string
	}{
		"no time":             {"", "-secret-", "cannot read SSHPROBE_WITHIN"},
		"a time with no unit": {"15", "-secret-", "cannot read SSHPROBE_WITHIN"},
		"no private key":      {"1s", "", "cannot read the private key"},
		"a malformed key":     {"1s", "-secret-", "cannot read the private key"},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			variables := map[string]string{
				"SSHPROBE_ADDRESS": "127.0.0.1:1", "SSHPROBE_USER": "bootstrap", "SSHPROBE_WITHIN": test.within,
			}
			err := run(t.Context(), func(name string) string { return variables[name] }, strings.NewReader(test.stdin), &stderr)
			require.ErrorContains(t, err, test.expected)
			require.NotContains(t, err.Error()+stderr.String(), "-secret-")
		})
	}
}
