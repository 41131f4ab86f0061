package stackfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const other = "awskms:///alias/other"

// FuzzLoad loads arbitrary stack files.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"secretsprovider: awskms:///alias/a\nencryptedkey: AAAA\nconfig:\n  aws:region: eu-central-1\n  p:a: {secure: " +
			"v1}\n", "encryptionsalt: v1:a\nconfig:\n  a: [{b: {secure: c}}]\n",
		"config: &a\n  p:a: *a\n", "config: {? [a] : b}\n", "config:\n  aws:region: [1]\n", "- a\n", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		project := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(project, "Pulumi.a.yaml"), text, 0o644))
		file, err := Load(project, "a")
		if err != nil {
			require.Nil(t, file)
			return
		}
		require.True(t, slices.IsSorted(file.Encrypted))
		// Creating the stack with a provider other than the file's loses the encrypted values.
		if file.Provider() != other {
			require.Equal(t, len(file.Encrypted) == 0, file.Survives(other))
		}
	})
}
