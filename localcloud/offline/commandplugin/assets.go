package commandplugin

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gobwas/glob"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// pathRule is one entry of assetPaths or archivePaths.
type pathRule struct {
	glob    glob.Glob
	exclude bool
}

// matchingAssets are the files below dir that the patterns name, by
// slash-separated path relative to dir. Patterns apply in order; one that
// begins with ! excludes what earlier ones included.
func matchingAssets(dir string, patterns []string) (map[string]*types.AssetOrArchive, error) {
	rules := make([]pathRule, 0, len(patterns))
	for _, pattern := range patterns {
		bare, exclude := strings.CutPrefix(pattern, "!")
		compiled, err := glob.Compile(bare, '/')
		if err != nil {
			return nil, fmt.Errorf("read the pattern %q: %w", pattern, err)
		}
		rules = append(rules, pathRule{compiled, exclude})
	}

	assets := map[string]*types.AssetOrArchive{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !included(rules, path) {
			return err
		}
		asset, err := resource.NewPathAsset(filepath.Join(dir, path))
		assets[path] = &types.AssetOrArchive{Asset: asset}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("walk %s: %w", dir, err)
	}
	return assets, nil
}

func included(rules []pathRule, path string) bool {
	included := false
	for _, rule := range rules {
		if rule.glob.Match(path) {
			included = !rule.exclude
		}
	}
	return included
}
