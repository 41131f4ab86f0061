package publish

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzListing parses a listing of the content bucket.
func FuzzListing(f *testing.F) {
	for _, seed := range []string{
		`<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><Contents><Key>site/a%20b</Key><ETag>"x"</ETag></Contents></ListBucketResult>`,
		`<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%zz</Key></Contents></ListBucketResult>`,
		`<Error><Code>AccessDenied</Code></Error>`, `{}`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := parsePage(text)
		if err != nil {
			require.Equal(t, page{}, read)
		}
	})
}

// FuzzJekyllConfig parses a site's own configuration in each of its formats.
func FuzzJekyllConfig(f *testing.F) {
	for _, seed := range []string{
		"exclude: [a, *b]\nsource: src\n", "a: &a [*a]\nexclude: *a\n", "exclude = [\"a\", 1]\ndestination = \"/\"\n",
		"- a\n", "exclude: ~\n? [a]\n: b\n",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, isTOML bool) {
		dir, name := t.TempDir(), "_config.yml"
		if isTOML {
			name = "_config.toml"
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		config, err := readJekyllConfig(dir)
		if err != nil {
			require.Equal(t, jekyllConfig{}, config)
			require.ErrorContains(t, err, filepath.Join(dir, name))
			return
		}
		require.Equal(t, name, config.file)
		require.NotEmpty(t, config.unfiltered)
	})
}
