// Package cmd implements localcloud's command line.
package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/plugin/awsplugin"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
	"immutable-infra/localcloud/internal/steps"
	"immutable-infra/localcloud/offline/commandplugin"
	"immutable-infra/localcloud/offline/langhost"
	"immutable-infra/localcloud/offline/tlsplugin"
)

const usage = `usage: localcloud <verb>

  up        start the local cloud and deploy stack local (-no-deploy: only start)
  down      destroy the stack and the local cloud
  env       print export lines for a shell (-role NAME: act as that role)
  status    show the containers and their memory use (-json)
  move      show or change how an Elastic IP moves (-window 6s -arrive nothing -connections 1m)
`

type verb func(ctx context.Context, args []string) error

// Run runs the verb in the first argument. Verbs that the usage does not list run in containers or as plugins.
func Run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("no verb\n%s", usage)
	}
	run := map[string]verb{
		"up": upVerb, "down": downVerb, "env": envVerb, "status": statusVerb, "move": moveVerb,
		"plugin": pluginVerb, "gateway": gatewayVerb, "dns": dnsVerb,
		"registry": serve("registry", containerRegistry), "awsapi": serve("awsapi", awsAPI),
		"victorops": serve("victorops", victorOps), "uptimerobot": serve("uptimerobot", uptimeRobot),
	}[args[0]]
	if run == nil {
		return fmt.Errorf("unknown verb %q\n%s", args[0], usage)
	}
	return run(ctx, args[1:])
}

// pluginVerb runs localcloud as a Pulumi plugin. The Pulumi engine starts it. Standard output is reserved for the
// plugin protocol.
func pluginVerb(ctx context.Context, args []string) error {
	plugins := map[string]func() error{
		"aws": func() error {
			// The engine may run the plugin outside the project's root.
			h, err := state.Find(".")
			if err != nil {
				return err
			}
			return awsplugin.Serve(ctx, h.String())
		},
		"tls":         func() error { return tlsplugin.Serve(ctx) },
		"command":     func() error { return commandplugin.Serve(ctx) },
		"language-go": func() error { return langhost.Serve(ctx, args[1:]) },
	}
	if len(args) == 0 || plugins[args[0]] == nil {
		return fmt.Errorf("plugin %v: write one of aws, tls, command, language-go", args)
	}
	// Pulumi's library reads the engine's address from os.Args.
	os.Args = slices.Concat(os.Args[:1], args[1:])
	return plugins[args[0]]()
}

const (
	stackName      = "local"         // the stack that localcloud deploys
	interruptGrace = 2 * time.Minute // how long an interrupted deployment may take to finish its current step
)

type project struct {
	root   string
	home   state.Home
	runner run.Runner
	local  *cloud.Local
	engine *dockerd.Engine
}

// openProject parses a verb's arguments, which must be flags, and finds the project around the working directory.
func openProject(flags *flag.FlagSet, args []string) (*project, error) {
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%s: unknown argument %q", flags.Name(), flags.Arg(0))
	}
	root, err := state.FindRoot(".")
	if err != nil {
		return nil, err
	}
	h, err := state.Find(root)
	if err != nil {
		return nil, err
	}
	local, err := cloud.Open(h.String())
	if err != nil {
		return nil, err
	}
	runner := run.Exec{Grace: interruptGrace}
	return &project{root: root, home: h, runner: runner, local: local, engine: dockerd.New(h, runner)}, nil
}

// lock prevents two starts or stops of the same local cloud from running at the same time.
func (p *project) lock() (unlock func(), err error) {
	if err := p.home.Make(); err != nil {
		return nil, err
	}
	unlock, err = state.Lock(filepath.Join(p.home.Bin(), ".lock"), syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("another `make up` or `make down` is running in %s: wait until it ends", p.home)
	}
	return unlock, err
}

// pulumi returns the path of the Pulumi CLI: localcloud's own, or a link to the user's.
func (p *project) pulumi() string { return filepath.Join(p.home.Bin(), "pulumi") }

// runPulumi runs one pulumi command in the project and returns its output.
func (p *project) runPulumi(ctx context.Context, args ...string) (string, error) {
	output, err := p.runInProject(ctx, run.Command{Name: p.pulumi(), Args: append(args, "--non-interactive")})
	return strings.TrimSpace(string(output)), err
}

// streamPulumi runs one pulumi command on the stack and streams its output to standard output.
func (p *project) streamPulumi(ctx context.Context, args ...string) error {
	_, err := p.runInProject(ctx, run.Command{
		Name: p.pulumi(), Args: append(args, "--stack", stackName), Stream: os.Stdout,
	})
	return err
}

// runInProject runs a command in the project's root with the local cloud's environment.
func (p *project) runInProject(ctx context.Context, command run.Command) ([]byte, error) {
	variables, err := p.environment(ctx)
	if err != nil {
		return nil, err
	}
	command.Dir, command.Env = p.root, variables.list()
	return p.runner.Run(ctx, command)
}

// newPrinter returns a printer for standard output, animated on a terminal.
func newPrinter() *steps.Printer {
	return steps.NewPrinter(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
}
