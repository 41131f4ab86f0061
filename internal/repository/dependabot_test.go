package repository

import (
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// notWatched lists the directories that Dependabot does not watch, with the reason.
var notWatched = map[string]string{
	"/tools/traefik/ext": "it has no dependencies",
}

func TestDependabotWatchesEverythingThatIsPinned(t *testing.T) {
	text, err := os.ReadFile("../../.github/dependabot.yml")
	require.NoError(t, err)
	var config struct {
		Version int
		Updates []struct {
			Ecosystem   string `yaml:"package-ecosystem"`
			Directories []string
			Schedule    struct{ Interval string }
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	require.NoError(t, decoder.Decode(&config))
	require.Equal(t, 2, config.Version)
	watched := map[string][]string{}
	for _, update := range config.Updates {
		require.Equal(t, "weekly", update.Schedule.Interval, update.Ecosystem)
		require.NotContains(t, watched, update.Ecosystem, "one entry for each ecosystem, so that its groups span directories")
		watched[update.Ecosystem] = update.Directories
	}

	pinned := map[string][]string{"github-actions": {"/"}}
	found := func(ecosystem, file string) {
		if dir := path.Join("/", path.Dir(file)); notWatched[dir] == "" && !slices.Contains(pinned[ecosystem], dir) {
			pinned[ecosystem] = append(pinned[ecosystem], dir)
		}
	}
	require.NoError(t, fs.WalkDir(os.DirFS("../.."), ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", ".localcloud", ".build", "node_modules"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		switch name := entry.Name(); {
		case name == "go.mod":
			found("gomod", file)
		case name == "Dockerfile":
			found("docker", file)
		case strings.HasPrefix(name, "compose.") && strings.HasSuffix(name, ".yaml"):
			found("docker-compose", file)
		case name == "action.yml":
			found("github-actions", file)
		}
		return nil
	}))
	require.Len(t, watched, len(pinned))
	for ecosystem, directories := range pinned {
		require.ElementsMatch(t, directories, watched[ecosystem], ecosystem)
	}
	for dir := range notWatched {
		require.FileExists(t, "../../"+dir+"/go.mod")
	}
}
