package commandplugin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// terminationGrace is how long a cancelled command has between the request to
// end and its end.
const terminationGrace = 3 * time.Second

// run runs command, nil for none, and sets the outputs. The command inherits
// this process's environment. When ctx ends, its process group is asked to
// terminate, and killed after terminationGrace.
func (s *LocalCommandState) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	line := []string{"/bin/sh", "-c"}
	if s.Interpreter != nil && len(*s.Interpreter) > 0 {
		line = append([]string{}, *s.Interpreter...)
	}
	line = append(line, *command)

	out := newOutput(ctx, s.Logging)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	if s.Dir != nil {
		cmd.Dir = *s.Dir
	}
	if s.Stdin != nil {
		cmd.Stdin = strings.NewReader(*s.Stdin)
	}
	cmd.Env = s.environment()
	if err := runInGroup(ctx, cmd); err != nil {
		return out.failure(*command, err)
	}
	s.CommandOutputs = out.outputs()
	return s.collectFiles(cmd.Dir)
}

func (s *LocalCommandState) environment() []string {
	environment := os.Environ()
	if s.Environment != nil {
		for key, value := range *s.Environment {
			environment = append(environment, key+"="+value)
		}
	}
	for key, value := range s.previousOutput(s.CommandOutputs) {
		environment = append(environment, key+"="+value)
	}
	return environment
}

// collectFiles sets the files that assetPaths and archivePaths ask for.
func (s *LocalCommandState) collectFiles(dir string) error {
	s.Assets, s.Archive = nil, nil
	if s.AssetPaths != nil {
		assets, err := matchingAssets(dir, *s.AssetPaths)
		if err != nil {
			return fmt.Errorf("collect assetPaths: %w", err)
		}
		s.Assets = &assets
	}
	if s.ArchivePaths != nil {
		assets, err := matchingAssets(dir, *s.ArchivePaths)
		if err != nil {
			return fmt.Errorf("collect archivePaths: %w", err)
		}
		members := map[string]any{}
		for path, asset := range assets {
			members[path] = asset
		}
		s.Archive, err = resource.NewAssetArchive(members)
		if err != nil {
			return fmt.Errorf("make an archive of archivePaths: %w", err)
		}
	}
	return nil
}

// runInGroup runs cmd as the leader of a process group, so that the end of ctx
// reaches every process it started. The error then wraps that of ctx.
func runInGroup(ctx context.Context, cmd *exec.Cmd) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// A killed plugin cannot end its commands itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	terminated := make(chan error, 1)
	go func() { terminated <- terminateGroup(ctx, cmd.Process.Pid, ended) }()
	err := cmd.Wait()
	close(ended)
	if groupErr := <-terminated; groupErr != nil {
		return errors.Join(err, groupErr)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// terminateGroup ends the process group when ctx ends before its leader does.
func terminateGroup(ctx context.Context, group int, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	if err := signalGroup(group, syscall.SIGTERM); err != nil {
		return err
	}
	grace := time.NewTimer(terminationGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
	}
	// Also after the leader's end: what it started may outlive it.
	return signalGroup(group, syscall.SIGKILL)
}

func signalGroup(group int, signal syscall.Signal) error {
	err := syscall.Kill(-group, signal)
	if err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %s to process group %d: %w", signal, group, err)
	}
	return nil
}
