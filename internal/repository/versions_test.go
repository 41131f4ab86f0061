package repository

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

// otherVersions lists the dependencies that need another version in some modules, with the reason.
func otherVersions() map[string]map[string]string {
	const plugins = "the local cloud's plugins are processes of their own, and pulumi-go-provider requires newer ones " +
		"than the program's SDK does"
	return map[string]map[string]string{
		"localcloud/go.mod": {
			"github.com/pulumi/pulumi/sdk/v3": plugins,
			"google.golang.org/grpc":          plugins,
		},
	}
}

// goMods returns the go.mod files of this repository by path.
func goMods(t *testing.T) map[string]*modfile.File {
	t.Helper()
	listed, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "--", "go.mod", "**/go.mod").Output()
	require.NoError(t, err)
	modules := map[string]*modfile.File{}
	for path := range strings.FieldsSeq(string(listed)) {
		text, err := os.ReadFile("../../" + path)
		if os.IsNotExist(err) {
			continue
		}
		require.NoError(t, err)
		modules[path], err = modfile.Parse(path, text, nil)
		require.NoError(t, err)
	}
	require.Contains(t, modules, "go.mod")
	require.Greater(t, len(modules), 4)
	return modules
}

// The test compares only direct dependencies, because a module does not choose its indirect ones.
func TestOneDependencyHasTheSameVersionInAllModules(t *testing.T) {
	versions, where := map[string]string{}, map[string]string{}
	modules := goMods(t)
	for path, module := range modules {
		for _, requirement := range module.Require {
			dependency, version := requirement.Mod.Path, requirement.Mod.Version
			if requirement.Indirect || otherVersions()[path][dependency] != "" {
				continue
			}
			if other, ok := versions[dependency]; ok {
				require.Equal(t, other, version, "%s: %s requires another version: go get %s@VERSION in one of them", dependency,
					where[dependency], dependency)
			}
			versions[dependency], where[dependency] = version, path
		}
	}
	for path, dependencies := range otherVersions() {
		for dependency := range dependencies {
			require.Contains(t, modules, path)
			for _, requirement := range modules[path].Require {
				if requirement.Mod.Path == dependency {
					require.NotEqual(t, versions[dependency], requirement.Mod.Version, "%s: %s no longer needs an exception", path,
						dependency)
				}
			}
		}
	}
}

// A workspace would build the program with the local cloud's dependencies: see "No workspace" in docs/decisions.md.
func TestModulesBuildWithTheirOwnVersions(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	require.Contains(t, string(makefile), "\nexport GOWORK := off\n")
	workspaces, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "--", "*go.work").Output()
	require.NoError(t, err)
	require.Empty(t, string(workspaces))
}

func TestMakeChecksEachModule(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	listed := regexp.MustCompile(`(?m)^MODULES := (.*)$`).FindStringSubmatch(string(makefile))
	require.NotNil(t, listed)
	var modules []string
	for file := range goMods(t) {
		// Modules in tools have no packages of this project.
		if directory := path.Dir(file); directory != "tools" && !strings.HasPrefix(directory, "tools/") {
			modules = append(modules, directory)
		}
	}
	require.ElementsMatch(t, modules, strings.Fields(listed[1]))
}

func TestAllModulesRequireTheSameGo(t *testing.T) {
	modules := goMods(t)
	require.NotNil(t, modules["go.mod"].Go)
	release := strings.TrimSuffix(modules["go.mod"].Go.Version, ".0")
	for path, module := range modules {
		require.NotNil(t, module.Go, path)
		require.Equal(t, release, strings.TrimSuffix(module.Go.Version, ".0"), path)
	}
}
