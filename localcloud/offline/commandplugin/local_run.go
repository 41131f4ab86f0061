package commandplugin

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// run runs command, nil for none, and sets the outputs. The command inherits
// this process's environment.
//
// As in the real plugin, the end of ctx kills the interpreter alone: what it
// started goes on, and is waited for as long as it holds the interpreter's
// standard output or error.
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
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	if s.Dir != nil {
		cmd.Dir = *s.Dir
	}
	if s.Stdin != nil && *s.Stdin != "" {
		cmd.Stdin = strings.NewReader(*s.Stdin)
	}
	cmd.Env = s.environment()
	err := cmd.Run()
	out.end()
	if err != nil {
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

// collectFiles sets the files that assetPaths and archivePaths ask for; where
// they do not, those of the last run stay.
func (s *LocalCommandState) collectFiles(dir string) error {
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return fmt.Errorf("find the working directory: %w", err)
		}
	}
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
			members[path] = asset.Asset
		}
		s.Archive, err = resource.NewAssetArchive(members)
		if err != nil {
			return fmt.Errorf("make an archive of archivePaths: %w", err)
		}
	}
	return nil
}
