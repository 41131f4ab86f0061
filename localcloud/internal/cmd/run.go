// Package cmd is localcloud's command line, one file for each verb.
package cmd

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"

	"immutable-infra/localcloud/internal/steps"
)

const usage = `usage: localcloud <verb>

  up        start the local cloud and deploy stack local (-no-deploy: only start)
  down      destroy the stack and the local cloud
  env       print export lines for a shell (-role NAME: that act as a role)
  status    show what runs and its memory (-json)
`

// Run runs the verb that the arguments name.
func Run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no verb\n%s", usage)
	}
	verb, rest := args[0], args[1:]
	switch verb {
	case "up":
		return upVerb(ctx, rest)
	case "down":
		return downVerb(ctx, rest)
	case "env":
		return envVerb(ctx, rest)
	case "status":
		return statusVerb(ctx, rest)
	case "plugin":
		return pluginVerb(ctx, rest)
	case "gateway":
		return gatewayVerb(ctx, rest)
	case "registry":
		return registryVerb(ctx, rest)
	case "dns":
		return dnsVerb(ctx, rest)
	case "awsapi":
		return awsAPIVerb(ctx, rest)
	case "victorops":
		return victorOpsVerb(ctx, rest)
	case "uptimerobot":
		return uptimeRobotVerb(ctx, rest)
	}
	return fmt.Errorf("unknown verb %q\n%s", verb, usage)
}

// newPrinter shows steps on standard output, lively on a terminal.
func newPrinter() *steps.Printer {
	return steps.NewPrinter(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
}
