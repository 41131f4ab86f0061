package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErrorNamesWrongInputWithoutSecrets(t *testing.T) {
	const secret = "u1234567-0123456789abcdef01234567"
	good := map[string]string{"UPTIMEROBOT_API": "https://api.example/v3", "UPTIMEROBOT_DESIRED": "{}"}
	with := func(name, value string) map[string]string {
		changed := map[string]string{name: value}
		for key, is := range good {
			if key != name {
				changed[key] = is
			}
		}
		return changed
	}
	for name, test := range map[string]struct {
		args      []string
		stdin     string
		variables map[string]string
		expected  string
	}{
		"no verb":         {nil, `{"key": "` + secret + `"}`, good, "usage: uptime"},
		"an unknown verb": {[]string{"apply"}, `{"key": "` + secret + `"}`, good, "usage: uptime"},
		"no secrets":      {[]string{"read"}, ``, good, "cannot read standard input: expected"},
		"no key": {
			[]string{"read"}, `{"webhook": "` + secret + `"}`, good, "cannot read standard input: expected",
		},
		"a key without JSON": {[]string{"read"}, secret, good, "cannot read standard input: expected"},
		"nothing desired": {
			[]string{"read"}, `{"key": "` + secret + `"}`, with("UPTIMEROBOT_DESIRED", ""), "read UPTIMEROBOT_DESIRED",
		},
		"malformed ids": {
			[]string{"update"}, `{"key": "` + secret + `"}`, with("PULUMI_COMMAND_STDOUT", "created"),
			"read PULUMI_COMMAND_STDOUT",
		},
		"no API": {
			[]string{"read"}, `{"key": "` + secret + `"}`, with("UPTIMEROBOT_API", ""), "is not the URL of UptimeRobot's API",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			err := run(t.Context(), test.args, func(name string) string { return test.variables[name] },
				strings.NewReader(test.stdin), &stdout, &stderr)
			require.ErrorContains(t, err, test.expected)
			require.NotContains(t, err.Error()+stdout.String()+stderr.String(), secret)
		})
	}
}
