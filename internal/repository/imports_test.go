package repository

import (
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// folderImports returns which top-level folders import which, as "from --> to". "main" is the folder of main.go.
// Imports of `internal`, which has helpers for all, are left out.
func folderImports(t *testing.T) []string {
	t.Helper()
	const module = "immutable-infra/"
	root, files := project(t)
	edges := map[string]bool{}
	for _, name := range files {
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.ImportsOnly)
		require.NoError(t, err)
		from, _, nested := strings.Cut(filepath.ToSlash(name), "/")
		if !nested {
			from = "main"
		}
		for _, imported := range source.Imports {
			path, err := strconv.Unquote(imported.Path.Value)
			require.NoError(t, err)
			within, ours := strings.CutPrefix(path, module)
			to, _, _ := strings.Cut(within, "/")
			if ours && to != from && to != "internal" {
				edges[from+" --> "+to] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(edges))
}

func TestDiagramShowsTheImportsBetweenFolders(t *testing.T) {
	page, err := os.ReadFile("../../CONTRIBUTING.md")
	require.NoError(t, err)
	diagram := regexp.MustCompile("(?s)```mermaid\n.*?```").FindString(string(page))
	drawn := regexp.MustCompile(`\w+ --> \w+`).FindAllString(diagram, -1)
	slices.Sort(drawn)
	require.Equal(t, folderImports(t), drawn, "the diagram in CONTRIBUTING.md: draw the imports that the program has, "+
		"or remove the import")
}

func TestImportsBetweenFoldersGoOneWay(t *testing.T) {
	imports := folderImports(t)
	require.NotEmpty(t, imports)
	// Remove folders that import nothing that is left, until none remains.
	for len(imports) > 0 {
		left := slices.DeleteFunc(slices.Clone(imports), func(edge string) bool {
			_, to, _ := strings.Cut(edge, " --> ")
			return !slices.ContainsFunc(imports, func(other string) bool { return strings.HasPrefix(other, to+" ") })
		})
		require.Less(t, len(left), len(imports), "a cycle is among these imports: %s", strings.Join(left, ", "))
		imports = left
	}
}
