package stack

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse parses a valid configuration in which one key has an arbitrary value.
func FuzzParse(f *testing.F) {
	for _, key := range append(Keys(), regionKey) {
		for _, value := range []string{"", "true", "-1", "[]", "{}", "null", `["a"]`, `{"a":{"b":["c"]}}`, "production"} {
			f.Add(key, value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		values := valid(t)
		values[key] = value
		config, err := Parse(values)
		if err != nil {
			require.Nil(t, config)
			require.NotEmpty(t, strings.TrimSpace(err.Error()))
			return
		}
		require.NotNil(t, config)
		require.True(t, slices.Contains(Keys(), key) || key == regionKey, "an unknown key must be rejected")
	})
}

// FuzzStackFile parses the configuration file of another stack.
func FuzzStackFile(f *testing.F) {
	for _, seed := range []string{
		"config:\n  p:domain: example.org\n  p:admins: [{name: a}]\n", "config:\n  p:a: {secure: v1}\n  p:b: ~\n  1: 2\n",
		"config: &a\n  p:a: *a\n",
		"config:\n  a: b\n  a: c\n", "config: {? [a] : b}\n", "config: .nan\n", "- a\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "Pulumi.other.yaml")
		require.NoError(t, os.WriteFile(path, text, 0o644))
		values, err := readFile(path, "p")
		if err != nil {
			require.Nil(t, values)
			return
		}
		(&validator{}).read(values)
	})
}
