package manifest

import (
	"fmt"
	"io/fs"
	"maps"
	"os/exec"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The hashes of an empty file and of "hello\n".
const (
	emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	helloHash = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
)

func TestAManifestThatCouldNotBeServedIsRefused(t *testing.T) {
	index := emptyHash + "  ./index.html\n"
	cases := map[string]struct{ text, reason string }{
		"empty": {"", "SHA256SUMS lists no files: an empty build is never served"},
		"cut short": {
			strings.TrimSuffix(index, "\n"), "SHA256SUMS does not end in a line break: it was cut short",
		},
		"no front page": {
			emptyHash + "  ./about.html\n", "SHA256SUMS lists no index.html: a site without a front page is never served",
		},
		"front page elsewhere": {
			emptyHash + "  ./blog/index.html\n", "SHA256SUMS lists no index.html: a site without a front page is never served",
		},
		"blank line": {index + "\n", `SHA256SUMS line 2: "" is not of the form <sha256>, two spaces, ./<path>`},
		"prose": {
			"<html>\n", `SHA256SUMS line 1: "<html>" is not of the form <sha256>, two spaces, ./<path>`,
		},
		"one space": {
			emptyHash + " ./index.html\n",
			"SHA256SUMS line 1: \"" + emptyHash + " ./index.html\" is not of the form <sha256>, two spaces, ./<path>",
		},
		"binary mark": {
			emptyHash + " *./index.html\n",
			"SHA256SUMS line 1: \"" + emptyHash + " *./index.html\" is not of the form <sha256>, two spaces, ./<path>",
		},
		"no leading ./": {
			emptyHash + "  index.html\n",
			"SHA256SUMS line 1: \"" + emptyHash + "  index.html\" is not of the form <sha256>, two spaces, ./<path>",
		},
		"absolute": {
			index + emptyHash + "  /etc/passwd\n",
			"SHA256SUMS line 2: \"" + emptyHash + "  /etc/passwd\" is not of the form <sha256>, two spaces, ./<path>",
		},
		"absolute behind ./": {
			index + emptyHash + "  .//etc/passwd\n",
			`SHA256SUMS line 2: path "/etc/passwd" is not a plain path below the site's directory`,
		},
		"up and out": {
			index + emptyHash + "  ./../../etc/cron.d/x\n",
			`SHA256SUMS line 2: path "../../etc/cron.d/x" is not a plain path below the site's directory`,
		},
		"up in the middle": {
			index + emptyHash + "  ./a/../../x\n",
			`SHA256SUMS line 2: path "a/../../x" is not a plain path below the site's directory`,
		},
		"dot element": {
			index + emptyHash + "  ./a/./x\n", `SHA256SUMS line 2: path "a/./x" is not a plain path below the site's directory`,
		},
		"the directory itself": {
			index + emptyHash + "  ./.\n", `SHA256SUMS line 2: path "." is not a plain path below the site's directory`,
		},
		"no name": {
			index + emptyHash + "  ./\n", `SHA256SUMS line 2: path "" is not a plain path below the site's directory`,
		},
		"directory": {
			index + emptyHash + "  ./a/\n", `SHA256SUMS line 2: path "a/" is not a plain path below the site's directory`,
		},
		"not UTF-8": {
			index + emptyHash + "  ./\xff\n", `SHA256SUMS line 2: path "\xff" is not a plain path below the site's directory`,
		},
		"escaped": {
			index + `\` + emptyHash + `  ./a\nb` + "\n",
			`SHA256SUMS line 2: an escaped name (one with a line break or a backslash): rename the file`,
		},
		"backslash": {
			index + emptyHash + `  ./a\b` + "\n", `SHA256SUMS line 2: path "a\\b" contains a backslash: rename the file`,
		},
		"Windows line breaks": {
			emptyHash + "  ./index.html\r\n",
			`SHA256SUMS line 1: path "index.html\r" contains a control character: rename the file`,
		},
		"zero byte": {
			index + emptyHash + "  ./a\x00b\n", `SHA256SUMS line 2: path "a\x00b" contains a control character: rename the file`,
		},
		"short hash": {emptyHash[1:] + "  ./index.html\n", "SHA256SUMS line 1: hash has 63 characters, not 64"},
		"hash of other letters": {
			strings.Repeat("g", 64) + "  ./index.html\n", "SHA256SUMS line 1: hash: encoding/hex: invalid byte: U+0067 'g'",
		},
		"upper-case hash": {
			strings.ToUpper(emptyHash) + "  ./index.html\n",
			"SHA256SUMS line 1: hash " + strings.ToUpper(emptyHash) + " has upper-case digits; sha256sum writes lower case",
		},
		"twice": {index + index, `SHA256SUMS line 2: "index.html" is listed twice`},
		"file and directory": {
			index + emptyHash + "  ./a\n" + emptyHash + "  ./a/b/c\n",
			`SHA256SUMS: "a" is listed as a file and as the directory of "a/b/c"`,
		},
		"long name": {
			index + emptyHash + "  ./" + strings.Repeat("n", 256) + "\n",
			`SHA256SUMS line 2: name "` + strings.Repeat("n", 40) + `"... is longer than 255 bytes`,
		},
		"long path": {
			index + emptyHash + "  ./" + strings.Repeat("d/", 510) + "f\n",
			`SHA256SUMS line 2: path "` + strings.Repeat("d/", 20) + `"... is longer than 1019 bytes`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text), DefaultLimits())
			require.EqualError(t, err, c.reason)
		})
	}
}

func TestAManifestBeyondTheLimitsIsRefused(t *testing.T) {
	var text strings.Builder
	fmt.Fprintf(&text, "%s  ./index.html\n", emptyHash)
	for i := range 10 {
		fmt.Fprintf(&text, "%s  ./%d\n", emptyHash, i)
	}
	limits := DefaultLimits()
	limits.Files = 10
	_, err := Parse([]byte(text.String()), limits)
	require.EqualError(t, err, "SHA256SUMS lists 11 files: at most 10 are accepted")

	limits = DefaultLimits()
	limits.ManifestBytes = int64(text.Len()) - 1
	_, err = Parse([]byte(text.String()), limits)
	require.EqualError(t, err, fmt.Sprintf("SHA256SUMS is larger than %d bytes", text.Len()-1))
}

func TestReleaseIDMatchesSha256sum(t *testing.T) {
	text := helloHash + "  ./a b/ü.html\n" + emptyHash + "  ./index.html\n"
	manifest, err := Parse([]byte(text), DefaultLimits())
	require.NoError(t, err)
	require.Len(t, manifest.files, 2)
	require.Equal(t, helloHash, manifest.files["a b/ü.html"].String())

	command := exec.Command("sha256sum")
	command.Stdin = strings.NewReader(text)
	output, err := command.Output()
	require.NoError(t, err)
	require.Equal(t, string(output[:16]), manifest.ID())
}

func TestNewWritesWhatParseReads(t *testing.T) {
	digest, err := ParseDigest(helloHash)
	require.NoError(t, err)
	manifest, err := New(map[string]Digest{"index.html": digest, "a b/ü.html": digest}, DefaultLimits())
	require.NoError(t, err)
	require.Equal(t, helloHash+"  ./a b/ü.html\n"+helloHash+"  ./index.html\n", string(manifest.Text()))

	_, err = New(map[string]Digest{"index.html": digest, "a\n" + helloHash + "  ./b": digest}, DefaultLimits())
	require.ErrorContains(t, err, "control character")
	_, err = New(nil, DefaultLimits())
	require.ErrorContains(t, err, "lists no files")
}

// FuzzManifest parses arbitrary manifests, as anyone with write access could leave them in the content bucket.
func FuzzManifest(f *testing.F) {
	index := emptyHash + "  ./index.html\n"
	for _, seed := range []string{
		index, index + helloHash + "  ./a b/ü.html\n", index + index, index + emptyHash + "  ./../x\n",
		emptyHash + "  index.html\n",
		index + emptyHash + "  ./index.html/a\n", `\` + index, index + "\n", strings.ToUpper(emptyHash) + "  ./index.html\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Parse(text, DefaultLimits())
		if err != nil {
			require.Equal(t, Manifest{}, list)
			return
		}
		require.True(t, IsID(list.ID()))
		files := maps.Collect(list.Files())
		require.Len(t, files, list.Len())
		require.Contains(t, files, "index.html")
		for name := range files {
			require.True(t, fs.ValidPath(name), name)
			require.NoError(t, CheckPath(name))
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				require.NotContains(t, files, dir, "a file is also the directory of another file")
			}
		}
		again, err := New(files, DefaultLimits())
		require.NoError(t, err)
		require.Equal(t, files, maps.Collect(again.Files()))
	})
}
