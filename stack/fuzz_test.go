package stack

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse reads lines of a key and its value, which replace those of a configuration that is right.
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
		require.True(t, slices.Contains(Keys(), key) || key == regionKey, "a key that is not known is refused")
	})
}
