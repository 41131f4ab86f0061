package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode"

	"immutable-infra/agent/internal/bucket"
)

const (
	// ManifestName is the manifest's key in the content bucket and its name in
	// a release's directory.
	ManifestName = "SHA256SUMS"

	// idBytes is how much of the manifest's SHA-256 names a release: 16
	// hexadecimal digits.
	idBytes = 8

	// maxPathBytes keeps `site/` + path within S3's 1,024 bytes for a key.
	maxPathBytes = 1024 - len("site/")
	// maxNameBytes is what Linux file systems allow for one name.
	maxNameBytes = 255
)

// Manifest lists every file of one build of the site with its SHA-256, in the
// text format of sha256sum: one line `<64 hex digits>  ./<path>` per file.
// `sha256sum -c SHA256SUMS` in the site's directory checks it by hand.
type Manifest struct {
	text  []byte
	files map[string]Digest
}

// FetchManifest reads the manifest from the content bucket and returns its ETag,
// too, unless it still has knownETag: then the error is bucket.ErrNotModified.
// An empty knownETag always reads.
func FetchManifest(ctx context.Context, content *bucket.Bucket, knownETag string, limits Limits) (Manifest, string, error) {
	object, err := content.Get(ctx, ManifestName, knownETag)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return Manifest{}, "", fmt.Errorf("no build has been uploaded yet: %w", err)
	case errors.Is(err, bucket.ErrDenied):
		return Manifest{}, "", fmt.Errorf("%w: allow this server's role s3:GetObject on the bucket's objects and s3:ListBucket on the bucket", err)
	case err != nil:
		return Manifest{}, "", err
	}
	defer object.Body.Close()
	// One byte more than is accepted, for ParseManifest to see that it is too
	// much.
	text, err := io.ReadAll(io.LimitReader(object.Body, limits.ManifestBytes+1))
	if err != nil {
		return Manifest{}, "", fmt.Errorf("read %s: %w", content.URL(ManifestName), err)
	}
	manifest, err := ParseManifest(text, limits)
	if err != nil {
		return Manifest{}, "", fmt.Errorf("%s is refused: %w", content.URL(ManifestName), err)
	}
	return manifest, object.ETag, nil
}

// ParseManifest reads a manifest and refuses every one that could not be
// served or could reach outside its release: one that is empty, too long or
// cut short, has no index.html, or has a line with a bad hash or a path that
// is absolute, not in its shortest form, escaped, or listed twice. The error
// names the line.
func ParseManifest(text []byte, limits Limits) (Manifest, error) {
	if int64(len(text)) > limits.ManifestBytes {
		return Manifest{}, fmt.Errorf("%s is larger than %d bytes", ManifestName, limits.ManifestBytes)
	}
	if len(text) == 0 {
		return Manifest{}, fmt.Errorf("%s lists no files: an empty build is never served", ManifestName)
	}
	body, complete := strings.CutSuffix(string(text), "\n")
	if !complete {
		return Manifest{}, fmt.Errorf("%s does not end in a line break: it was cut short", ManifestName)
	}
	lines := strings.Split(body, "\n")
	if len(lines) > limits.Files {
		return Manifest{}, fmt.Errorf("%s lists %d files: at most %d are accepted", ManifestName, len(lines), limits.Files)
	}
	files := make(map[string]Digest, len(lines))
	for i, line := range lines {
		name, digest, err := parseLine(line)
		if err != nil {
			return Manifest{}, fmt.Errorf("%s line %d: %w", ManifestName, i+1, err)
		}
		if _, twice := files[name]; twice {
			return Manifest{}, fmt.Errorf("%s line %d: %q is listed twice", ManifestName, i+1, name)
		}
		files[name] = digest
	}
	for name := range files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, isFile := files[dir]; isFile {
				return Manifest{}, fmt.Errorf("%s: %q is listed as a file and as the directory of %q", ManifestName, dir, name)
			}
		}
	}
	if _, ok := files["index.html"]; !ok {
		return Manifest{}, fmt.Errorf("%s lists no index.html: a site without a front page is never served", ManifestName)
	}
	return Manifest{text: text, files: files}, nil
}

// ID names the release: the first 16 hexadecimal digits of the SHA-256 of the
// manifest's bytes.
func (m Manifest) ID() string {
	sum := sha256.Sum256(m.text)
	return hex.EncodeToString(sum[:idBytes])
}

// Files are the slash-separated paths of the build's files, sorted, with their
// digests.
func (m Manifest) Files() iter.Seq2[string, Digest] {
	return func(yield func(string, Digest) bool) {
		for _, name := range slices.Sorted(maps.Keys(m.files)) {
			if !yield(name, m.files[name]) {
				return
			}
		}
	}
}

// parseLine reads one line of sha256sum's text format.
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
	if err := checkPath(name); err != nil {
		return "", Digest{}, err
	}
	return name, digest, nil
}

// checkPath accepts the slash-separated path of a file below the site's
// directory and nothing else.
func checkPath(name string) error {
	switch {
	// ValidPath: UTF-8, not absolute, without empty, `.` and `..` elements.
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("path %q is not a plain path below the site's directory", name)
	case strings.ContainsRune(name, '\\'):
		return fmt.Errorf("path %q contains a backslash: rename the file", name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("path %q contains a control character: rename the file", name)
	case len(name) > maxPathBytes:
		return fmt.Errorf("path %.40q... is longer than %d bytes", name, maxPathBytes)
	}
	for element := range strings.SplitSeq(name, "/") {
		if len(element) > maxNameBytes {
			return fmt.Errorf("name %.40q... is longer than %d bytes", element, maxNameBytes)
		}
	}
	return nil
}
