// Package manifest is the format in which a build of the site reaches a server: the list of its files with their
// hashes, the release's name, and the limits. The program that uploads a build and the agent that downloads it share
// this code.
package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"
)

const (
	// Name is the manifest's key in the content bucket and its file name in a release's directory.
	Name = "SHA256SUMS"

	// idBytes is how many bytes of the manifest's SHA-256 name a release: 16 hexadecimal digits.
	idBytes = 8

	// MaxPathBytes keeps `site/` + path within S3's limit of 1,024 bytes for a key.
	MaxPathBytes = 1024 - len("site/")
	// MaxNameBytes is the limit of Linux file systems for one name.
	MaxNameBytes = 255
)

// Manifest lists every file of a build of the site with its SHA-256, in the text format of sha256sum: one line
// `<64 hex digits>  ./<path>` per file. To verify it by hand, run `sha256sum -c SHA256SUMS` in the site's directory.
type Manifest struct {
	text  []byte
	files map[string]Digest
}

// Parse parses a manifest. It rejects a manifest that could not be served or could reach outside its release: one
// that is empty, too long or cut short, has no index.html, or has a line with a malformed hash or a path that is
// absolute, not in its shortest form, escaped, or listed twice. The error names the line.
func Parse(text []byte, limits Limits) (Manifest, error) {
	if int64(len(text)) > limits.ManifestBytes {
		return Manifest{}, fmt.Errorf("%s is larger than %d bytes", Name, limits.ManifestBytes)
	}
	if len(text) == 0 {
		return Manifest{}, fmt.Errorf("%s lists no files: an empty build is never served", Name)
	}
	body, complete := strings.CutSuffix(string(text), "\n")
	if !complete {
		return Manifest{}, fmt.Errorf("%s does not end in a line break: it was cut short", Name)
	}
	lines := strings.Split(body, "\n")
	if len(lines) > limits.Files {
		return Manifest{}, fmt.Errorf("%s lists %d files: at most %d are accepted", Name, len(lines), limits.Files)
	}
	files := make(map[string]Digest, len(lines))
	for i, line := range lines {
		name, digest, err := parseLine(line)
		if err != nil {
			return Manifest{}, fmt.Errorf("%s line %d: %w", Name, i+1, err)
		}
		if _, twice := files[name]; twice {
			return Manifest{}, fmt.Errorf("%s line %d: %q is listed twice", Name, i+1, name)
		}
		files[name] = digest
	}
	for name := range files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, isFile := files[dir]; isFile {
				return Manifest{}, fmt.Errorf("%s: %q is listed as a file and as the directory of %q", Name, dir, name)
			}
		}
	}
	if _, ok := files["index.html"]; !ok {
		return Manifest{}, fmt.Errorf("%s lists no index.html: a site without a front page is never served", Name)
	}
	return Manifest{text: text, files: files}, nil
}

// New returns the manifest of a build with these files. It rejects everything that Parse would reject.
func New(files map[string]Digest, limits Limits) (Manifest, error) {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		// A line break in a name would end the manifest's line.
		if err := CheckPath(name); err != nil {
			return Manifest{}, err
		}
		fmt.Fprintf(&text, "%s  ./%s\n", files[name], name)
	}
	return Parse([]byte(text.String()), limits)
}

// Text returns the manifest as it is stored.
func (m Manifest) Text() []byte { return m.text }

// Len returns the number of files.
func (m Manifest) Len() int { return len(m.files) }

// Digest returns the digest of a file of the build, by its slash-separated path.
func (m Manifest) Digest(name string) (digest Digest, ok bool) {
	digest, ok = m.files[name]
	return digest, ok
}

// ID returns the release's name: the first 16 hexadecimal digits of the SHA-256 of the manifest's bytes.
func (m Manifest) ID() string {
	sum := sha256.Sum256(m.text)
	return hex.EncodeToString(sum[:idBytes])
}

// Files iterates over the slash-separated paths of the build's files, sorted, with their digests.
func (m Manifest) Files() iter.Seq2[string, Digest] {
	return func(yield func(string, Digest) bool) {
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			if !yield(name, m.files[name]) {
				return
			}
		}
	}
}

// IsID reports whether a name has the form of a release's id.
func IsID(name string) bool {
	return len(name) == 2*idBytes && strings.Trim(name, "0123456789abcdef") == ""
}

// parseLine parses one line of sha256sum's text format.
func parseLine(line string) (string, Digest, error) {
	if strings.HasPrefix(line, `\`) {
		return "", Digest{}, errors.New("an escaped name (one with a line break or a backslash): rename the file")
	}
	hash, name, ok := strings.Cut(line, "  ./")
	if !ok {
		return "", Digest{}, fmt.Errorf("%q is not of the form <sha256>, two spaces, ./<path>", line)
	}
	digest, err := ParseDigest(hash)
	if err != nil {
		return "", Digest{}, err
	}
	if err := CheckPath(name); err != nil {
		return "", Digest{}, err
	}
	return name, digest, nil
}

// CheckPath returns an error unless name is the slash-separated path of a file below the site's directory.
func CheckPath(name string) error {
	switch {
	// ValidPath: UTF-8, not absolute, without empty, `.` and `..` elements.
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("path %q is not a plain path below the site's directory", name)
	case strings.ContainsRune(name, '\\'):
		return fmt.Errorf("path %q contains a backslash: rename the file", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("path %q contains a control character: rename the file", name)
	case len(name) > MaxPathBytes:
		return fmt.Errorf("path %.40q... is longer than %d bytes", name, MaxPathBytes)
	}
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > MaxNameBytes {
			return fmt.Errorf("name %.40q... is longer than %d bytes", element, MaxNameBytes)
		}
	}
	return nil
}
