package commandplugin

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gobwas/glob"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// LocalCommand is command:local:Command: commands that run on this machine
// when the resource is created, updated and deleted.
type LocalCommand struct {
	lifecycle[LocalCommandArgs, LocalCommandState, *LocalCommandState]
}

type LocalCommandArgs struct {
	CommandArgs
	// Interpreter is the program, and its arguments, that gets the command as
	// its last argument: /bin/sh -c by default.
	Interpreter []string `pulumi:"interpreter,optional"`
	// Dir is the working directory: the plugin's own by default.
	Dir *string `pulumi:"dir,optional"`
	// AssetPaths are globs, relative to Dir, of the files returned as Assets;
	// one that begins with ! excludes. ArchivePaths are those of Archive.
	AssetPaths   *[]string `pulumi:"assetPaths,optional"`
	ArchivePaths *[]string `pulumi:"archivePaths,optional"`
}

type LocalCommandState struct {
	LocalCommandArgs
	CommandOutputs
	// Assets are the files that AssetPaths names, by path relative to Dir.
	Assets *map[string]*types.AssetOrArchive `pulumi:"assets,optional"`
	// Archive holds the files that ArchivePaths names.
	Archive *resource.Archive `pulumi:"archive,optional"`
}

// Annotate gives the type the token under which the SDK registers it.
func (c *LocalCommand) Annotate(a infer.Annotator) { a.SetToken("local", "Command") }

func (s *LocalCommandState) set(args LocalCommandArgs) { s.LocalCommandArgs = args }

// run runs command, nil for none, and sets the outputs. The command inherits
// this process's environment.
//
// As in the real plugin, the end of ctx kills the interpreter alone: what it
// started continues, and is waited for as long as it holds the interpreter's
// standard output or error.
func (s *LocalCommandState) run(ctx context.Context, command *string) error {
	if command == nil {
		return nil
	}
	line := append(slices.Clone(s.Interpreter), *command)
	if len(s.Interpreter) == 0 {
		line = []string{"/bin/sh", "-c", *command}
	}
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	if s.Dir != nil {
		cmd.Dir = *s.Dir
	}
	if s.Stdin != nil && *s.Stdin != "" {
		cmd.Stdin = strings.NewReader(*s.Stdin)
	}
	cmd.Env = os.Environ()
	for _, variables := range []map[string]string{s.Environment, s.previousOutput(s.CommandOutputs)} {
		for key, value := range variables {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	out := newOutput(ctx, s.Logging)
	cmd.Stdout, cmd.Stderr = out.stdout, out.stderr
	outputs, err := out.finish(*command, cmd.Run())
	if err != nil {
		return err
	}
	s.CommandOutputs = outputs
	return s.collectFiles(cmd.Dir)
}

// collectFiles sets the files that assetPaths and archivePaths ask for; where
// they do not, those of the last run stay.
func (s *LocalCommandState) collectFiles(dir string) (err error) {
	if dir == "" {
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
		members := map[string]any{}
		for path, asset := range assets {
			members[path] = asset.Asset
		}
		if err == nil {
			s.Archive, err = resource.NewAssetArchive(members)
		}
		if err != nil {
			return fmt.Errorf("collect archivePaths: %w", err)
		}
	}
	return nil
}

// matchingAssets are the files below dir that the patterns name, by
// slash-separated path relative to dir. Patterns apply in order; one that
// begins with ! excludes what earlier ones included.
func matchingAssets(dir string, patterns []string) (map[string]*types.AssetOrArchive, error) {
	globs := make([]glob.Glob, len(patterns))
	for i, pattern := range patterns {
		var err error
		if globs[i], err = glob.Compile(strings.TrimPrefix(pattern, "!"), '/'); err != nil {
			return nil, fmt.Errorf("read the pattern %q: %w", pattern, err)
		}
	}
	assets := map[string]*types.AssetOrArchive{}
	return assets, fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		included := false
		for i, glob := range globs {
			if glob.Match(path) {
				included = !strings.HasPrefix(patterns[i], "!")
			}
		}
		if err != nil || entry.IsDir() || !included {
			return err
		}
		asset, err := resource.NewPathAsset(filepath.Join(dir, path))
		assets[path] = &types.AssetOrArchive{Asset: asset}
		return err
	})
}
