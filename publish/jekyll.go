package publish

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"gopkg.in/yaml.v3"
)

// jekyllConfig is the part of a site's Jekyll configuration that the hash and the build need.
type jekyllConfig struct {
	// file is the name of the configuration file in the site's directory, or "".
	file string
	// exclude is the site's list, or Jekyll's default if the site has none.
	exclude []string
	// source, destination and cache are paths relative to the site's directory.
	source, destination, cache string
	// unfiltered are the directories that Jekyll reads regardless of exclude.
	unfiltered []string
}

// defaultExclude is Jekyll's default list, which a list in a configuration replaces in Jekyll 3.
var defaultExclude = []string{
	".sass-cache", ".jekyll-cache", "gemfiles", "Gemfile", "Gemfile.lock", "node_modules",
	"vendor/bundle/", "vendor/cache/", "vendor/gems/", "vendor/ruby/",
}

// readJekyllConfig reads the file that Jekyll would find in dir. It ignores keys with values of a wrong type, which
// Jekyll itself reports.
func readJekyllConfig(dir string) (jekyllConfig, error) {
	config := jekyllConfig{exclude: defaultExclude}
	values := map[string][]string{}
	for _, name := range []string{"_config.yml", "_config.yaml", "_config.toml"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && filepath.Ext(name) == ".toml" {
			values, err = tomlStrings(text)
		} else if err == nil {
			values, err = yamlStrings(text)
		}
		if err != nil {
			return jekyllConfig{}, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, name), err)
		}
		config.file = name
		break
	}
	if list, ok := values["exclude"]; ok {
		config.exclude = list
	}
	scalar := func(key, fallback string) string {
		if list := values[key]; len(list) == 1 {
			return list[0]
		}
		return fallback
	}
	config.source = scalar("source", ".")
	config.destination = scalar("destination", "_site")
	config.cache = scalar("cache_dir", ".jekyll-cache")
	config.unfiltered = []string{
		scalar("data_dir", "_data"), scalar("layouts_dir", "_layouts"), scalar("includes_dir", "_includes"),
	}
	if list, ok := values["plugins_dir"]; ok {
		config.unfiltered = append(config.unfiltered, list...)
	} else {
		config.unfiltered = append(config.unfiltered, "_plugins")
	}
	return config, nil
}

// yamlStrings returns the top-level keys whose values are scalars or lists of scalars. Unlike decoding into a map,
// and like Ruby, it accepts duplicate keys: the last one counts.
func yamlStrings(text []byte) (map[string][]string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	values := map[string][]string{}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		return values, nil
	}
	pairs := document.Content[0].Content
	for i := 0; i+1 < len(pairs); i += 2 {
		value := pairs[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		switch {
		case value.Kind == yaml.ScalarNode && value.Tag != "!!null":
			values[pairs[i].Value] = []string{value.Value}
		case value.Kind == yaml.SequenceNode:
			list := []string{}
			for _, item := range value.Content {
				if item.Kind == yaml.AliasNode {
					item = item.Alias
				}
				list = append(list, item.Value)
			}
			values[pairs[i].Value] = list
		}
	}
	return values, nil
}

// tomlStrings is yamlStrings for TOML.
func tomlStrings(text []byte) (map[string][]string, error) {
	var document map[string]any
	if err := toml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	values := map[string][]string{}
	for key, value := range document {
		switch value := value.(type) {
		case string:
			values[key] = []string{value}
		case []any:
			list := []string{}
			for _, item := range value {
				list = append(list, fmt.Sprint(item))
			}
			values[key] = list
		}
	}
	return values, nil
}

// globCharacters are the special characters in a glob.
const globCharacters = `*?[]{}\`

// exactPattern returns an entry for exclude that matches only this path. Jekyll treats an entry as a glob and as a
// prefix of a path: without the backslash before the last character, `a.txt` would also exclude `a.txt.html`.
func exactPattern(path string) string {
	var pattern strings.Builder
	runes := []rune(path)
	for i, r := range runes {
		if i == len(runes)-1 || strings.ContainsRune(globCharacters, r) {
			pattern.WriteRune('\\')
		}
		pattern.WriteRune(r)
	}
	return pattern.String()
}
