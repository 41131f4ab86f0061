package cmd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/image"
	"immutable-infra/localcloud/internal/packages"
	"immutable-infra/localcloud/internal/run"
	"immutable-infra/localcloud/internal/state"
	"immutable-infra/localcloud/internal/steps"
	"immutable-infra/localcloud/offline"
)

// upVerb starts the parts of the local cloud that are not running, and deploys the stack.
func upVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	noDeploy := flags.Bool("no-deploy", false, "start the local cloud without deploying the stack")
	p, err := openProject(flags, args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("up creates network devices and firewall rules: run it as root")
	}
	unlock, err := p.lock()
	if err != nil {
		return err
	}
	defer unlock()
	printer := newPrinter()
	if err := p.start(ctx, printer); err != nil || *noDeploy {
		return err
	}
	return p.deploy(ctx, printer)
}

// start starts the local cloud. Every step is idempotent: it skips work that is done already.
func (p *project) start(ctx context.Context, printer *steps.Printer) error {
	recipes, err := cloud.Recipes()
	if err != nil {
		return err
	}
	if err := runAll(ctx, printer,
		step{"install missing packages", func(ctx context.Context) error {
			_, _, err := p.engine.Find(ctx)
			return packages.Install(ctx, p.runner, err == nil)
		}},
		step{"generate keys", p.createAdminKey},
	); err != nil {
		return err
	}
	// Parallel, because compiling Go and unpacking Debian packages together keep two processors busy.
	group, parallel := errgroup.WithContext(ctx)
	group.Go(func() error {
		tools := offline.Tools{Root: p.root, Home: p.home, Runner: p.runner, Network: offline.NewNetwork()}
		if err := printer.Run(parallel, "get the Pulumi CLI", tools.Pulumi); err != nil {
			return err
		}
		// Concurrently, so that a hanging download does not delay the builds.
		group.Go(func() error { return printer.Run(parallel, "get Pulumi's plugins", tools.Plugins) })
		return runAll(parallel, printer,
			step{"get the S3 server", tools.S3},
			step{"get the ACME server", tools.ACME},
			step{"get Traefik", tools.Traefik},
			step{"pack Traefik for the container registry", p.local.PackTraefik},
		)
	})
	group.Go(func() error {
		var builds []step
		for _, recipe := range recipes {
			builds = append(builds, step{"build image " + recipe.Name, func(ctx context.Context) error {
				_, err := image.Builder{Home: p.home, Runner: p.runner}.Archive(ctx, recipe)
				return err
			}})
		}
		return runAll(parallel, printer, builds...)
	})
	group.Go(func() error { return printer.Run(parallel, "start the network", p.local.StartNetwork) })
	if err := group.Wait(); err != nil {
		return err
	}
	return runAll(ctx, printer,
		step{"load the images", p.local.LoadImages},
		step{"start S3", p.local.StartS3},
		step{"create the bucket for Pulumi's state", p.createStateBucket},
		step{"start KMS, STS and EC2", p.local.StartAWSAPI},
		step{"start the container registry", p.local.StartRegistry},
		step{"start the name server", p.local.StartDNS},
		step{"start the ACME server", p.local.StartACME},
		step{"start the VictorOps double", p.local.StartVictorOps},
		step{"start the UptimeRobot double", p.local.StartUptimeRobot},
		step{"restart VPCs and instances", p.local.Heal},
		step{"select stack " + stackName, p.selectStack},
		step{"create the rehearsal stacks", p.createRehearsalStacks},
	)
}

// step is a piece of work with the name that the user sees in the progress output.
type step struct {
	name string
	work func(context.Context) error
}

func runAll(ctx context.Context, printer *steps.Printer, all ...step) error {
	for _, step := range all {
		if err := printer.Run(ctx, step.name, step.work); err != nil {
			return err
		}
	}
	return nil
}

// selectStack selects the local stack, so that it is the default of commands such as `pulumi preview`.
func (p *project) selectStack(ctx context.Context) error {
	if err := p.releaseStaleLock(ctx); err != nil {
		return err
	}
	_, err := p.runPulumi(ctx, "stack", "select", "--create", stackName)
	return err
}

// createRehearsalStacks creates this checkout's other stacks for the local cloud. Users deploy them when needed.
func (p *project) createRehearsalStacks(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(p.root, "Pulumi."+stackName+"-*.yaml"))
	if err != nil {
		return err
	}
	existing, err := p.stacks(ctx)
	if err != nil {
		return err
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "Pulumi."), ".yaml")
		if slices.Contains(existing, name) {
			continue
		}
		if _, err := p.runPulumi(ctx, "stack", "init", "--no-select", "--stack", name); err != nil {
			return err
		}
	}
	return nil
}

// deploy runs `pulumi up` and prints the site's URL and how to log in.
func (p *project) deploy(ctx context.Context, printer *steps.Printer) error {
	if err := printer.Run(ctx, "deploy stack "+stackName, func(ctx context.Context) error {
		err := p.streamPulumi(ctx, "up", "--yes", "--skip-preview")
		if failed, ok := errors.AsType[*run.Error](err); ok {
			return &run.Error{Command: failed.Command, Err: failed.Err} // without the output, which was already streamed
		}
		return err
	}); err != nil {
		return err
	}
	output, err := p.runPulumi(ctx, "stack", "output", "--json", "--stack", stackName)
	if err != nil {
		return err
	}
	var outputs struct{ URL, VIP, KnownHosts string }
	if err := json.Unmarshal([]byte(output), &outputs); err != nil {
		return fmt.Errorf("cannot parse the outputs of stack %s: %w", stackName, err)
	}
	knownHosts := filepath.Join(p.home.SSH(), "known_hosts")
	if err := state.WriteFile(knownHosts, []byte(strings.TrimSpace(outputs.KnownHosts)+"\n"), 0o600); err != nil {
		return err
	}
	port, err := p.runPulumi(ctx, "config", "get", "sshPort", "--stack", stackName)
	if err != nil {
		port = defaultSSHPort // not set
	}
	fmt.Printf("\nThe site:  %s (curl --cacert %s)\nThe VIP:   %s\nLog in:    ssh -p %s -i %s "+
		"-o UserKnownHostsFile=%s %s@%s\n",
		outputs.URL, p.relative(p.home.AuthorityFile()), outputs.VIP, port, p.relative(p.adminKey()), p.relative(knownHosts),
		adminUser, outputs.VIP)
	return nil
}

const (
	adminUser      = "admin" // has its key in Pulumi.local.yaml
	defaultSSHPort = "12222"
)

func (p *project) adminKey() string { return filepath.Join(p.home.SSH(), "id_ed25519") }

// createAdminKey generates the SSH key pair of the local stack's admin user.
func (p *project) createAdminKey(context.Context) error {
	if _, err := os.Stat(p.adminKey() + ".pub"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	block, err := ssh.MarshalPrivateKey(private, "admin of stack "+stackName)
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	if err := state.WriteFile(p.adminKey(), pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	// The public key comes last, because its presence marks the pair as complete.
	return state.WriteFile(p.adminKey()+".pub", ssh.MarshalAuthorizedKey(key), 0o644)
}

// relative returns path relative to the project's root if it is below the root, and path itself otherwise.
func (p *project) relative(path string) string {
	if short, err := filepath.Rel(p.root, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}
