package commandplugin

import (
	"fmt"
	"slices"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// Logging says which output of a command the engine shows while it runs. It
// does not affect the outputs stdout and stderr.
type Logging string

// The values of Logging.
const (
	LogStdout          Logging = "stdout"
	LogStderr          Logging = "stderr"
	LogStdoutAndStderr Logging = "stdoutAndStderr"
	LogNone            Logging = "none"
)

// Values lists what the input logging accepts.
func (Logging) Values() []infer.EnumValue[Logging] {
	return []infer.EnumValue[Logging]{
		{Name: string(LogStdout), Value: LogStdout, Description: "Capture stdout in logs but not stderr"},
		{Name: string(LogStderr), Value: LogStderr, Description: "Capture stderr in logs but not stdout"},
		{Name: string(LogStdoutAndStderr), Value: LogStdoutAndStderr, Description: "Capture stdout and stderr in logs"},
		{Name: string(LogNone), Value: LogNone, Description: "Capture no logs"},
	}
}

// logsStdout reports whether standard output is shown. Unset means both.
func (l *Logging) logsStdout() bool {
	return l == nil || *l == LogStdout || *l == LogStdoutAndStderr
}

// logsStderr reports whether standard error is shown. Unset means both.
func (l *Logging) logsStderr() bool {
	return l == nil || *l == LogStderr || *l == LogStdoutAndStderr
}

// checkLogging refuses a value that is not one of Values.
func checkLogging(inputs property.Map) []p.CheckFailure {
	value, ok := inputs.GetOk("logging")
	if !ok || !value.IsString() {
		return nil
	}
	var allowed []string
	for _, logging := range Logging("").Values() {
		allowed = append(allowed, string(logging.Value))
	}
	if slices.Contains(allowed, value.AsString()) {
		return nil
	}
	return []p.CheckFailure{{
		Property: "logging",
		Reason:   fmt.Sprintf("%q is not supported: write one of %s", value.AsString(), strings.Join(allowed, ", ")),
	}}
}
