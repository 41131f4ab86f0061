package steps_test

import (
	"bytes"
	"context"
	"errors"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/steps"
)

func TestEachStepReportsResultAndDuration(t *testing.T) {
	var out bytes.Buffer
	printer := steps.NewPrinter(&out, false)
	require.NoError(t, printer.Run(t.Context(), "start S3", func(context.Context) error { return nil }))
	require.EqualError(t, printer.Run(t.Context(), "start the network",
		func(context.Context) error { return errors.New("no engine") }), "start the network: no engine")
	require.Regexp(t,
		`^ • start S3\n ✓ start S3 \(\d+\.\d s\)\n • start the network\n ✗ start the network \(\d+\.\d s\)\n$`, out.String())
}

func TestTerminalShowsOneLinePerStep(t *testing.T) {
	var out bytes.Buffer
	printer := steps.NewPrinter(&out, true)
	require.NoError(t, printer.Run(t.Context(), "start S3", func(context.Context) error { return nil }))
	visible := regexp.MustCompile(`(?m)^.*\r\x1b\[K`).ReplaceAllString(out.String(), "")
	require.Regexp(t, `^ ✓ start S3 \(\d+\.\d s\)\n$`, visible)
}
