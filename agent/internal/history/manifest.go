package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/handover"
)

const (
	// version is that of manifests and catalogues.
	version = 1
	// manifestLimit is more than any manifest has, in bytes, and catalogueLimit more
	// than any catalogue.
	manifestLimit  = 256 << 10
	catalogueLimit = 4 << 20
	// maxEntries is more than any catalogue names of files and of parts of them: what JSON has in
	// two bytes takes many more in memory.
	maxEntries = 100_000
)

var (
	// errUnusable marks a backup that is not as it should be, as opposed to one that
	// could not be read.
	errUnusable = errors.New("of no use")
	// errNewer marks what a newer agent has written.
	errNewer = errors.New("was written by a newer agent: use that one, or a newer one, here too")
)

// Manifest names all that the bucket holds of a server's history at one moment. What
// stays as it is for long is in its catalogue, so that its size does not grow.
type Manifest struct {
	Version int `json:"version"`
	// Stack is whose history it is.
	Stack string `json:"stack"`
	// Server is the EC2 instance id of the one that wrote it.
	Server string `json:"server"`
	// Epoch and Sequence tell its place in the order of all.
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	// Time is when it was written by that server's clock, for people.
	Time time.Time `json:"time"`
	// WAL is the last segment of the write-ahead log, the only one that grows. Those
	// before it, whose many parts are known for hours, are in the catalogue.
	WAL []File `json:"wal"`
	// Checkpoint is the files of the newest complete checkpoint, if there is one.
	Checkpoint []File `json:"checkpoint,omitempty"`
	// Catalogue is the SHA-256 of the catalogue.
	Catalogue string `json:"catalogue"`
}

// Catalogue is what manifests name that does not change any more.
type Catalogue struct {
	Version int `json:"version"`
	// WAL is the segments before the last one, in their order and without a gap.
	WAL []File `json:"wal,omitempty"`
	// Blocks are in the order of their ULIDs.
	Blocks []Block `json:"blocks"`
}

// objects are all that the catalogue names.
func (c Catalogue) objects() []object {
	var objects []object
	for _, file := range c.WAL {
		objects = append(objects, file.objects()...)
	}
	for _, block := range c.Blocks {
		objects = append(objects, block.objects()...)
	}
	return objects
}

// String names the manifest in messages.
func (m Manifest) String() string {
	return fmt.Sprintf("manifest %d of epoch %d", m.Sequence, m.Epoch)
}

// files are all files of the write-ahead log.
func (m Manifest) files() []File { return append(append([]File(nil), m.Checkpoint...), m.WAL...) }

// objects are all that the manifest names by itself.
func (m Manifest) objects() []object {
	var objects []object
	for _, file := range m.files() {
		objects = append(objects, file.objects()...)
	}
	return objects
}

// with is the manifest with the segments that its catalogue names. A gap between them
// makes it errUnusable.
func (m Manifest) with(catalogue Catalogue) (Manifest, error) {
	m.WAL = append(slices.Clip(catalogue.WAL), m.WAL...)
	var segments []string
	for _, file := range m.WAL {
		segments = append(segments, file.Path)
	}
	directory := ""
	if len(m.Checkpoint) > 0 {
		directory = path.Dir(m.Checkpoint[0].Path)
	}
	if err := gapless(segments, directory); err != nil {
		return Manifest{}, fmt.Errorf("%s is %w: %w", m, errUnusable, err)
	}
	return m, nil
}

// check says what keeps the manifest from being of use.
func (m Manifest) check(epoch, sequence uint64) error {
	switch {
	case m.Epoch != epoch || m.Sequence != sequence:
		return fmt.Errorf("it says that it is %s", m)
	case !handover.IsName(m.Stack) || !handover.IsName(m.Server) || !isSum(m.Catalogue):
		return errors.New("it names no stack, no server or no catalogue")
	}
	if err := checkSegments(m.WAL); err != nil {
		return err
	}
	directory := ""
	seen := map[string]bool{}
	for _, file := range m.Checkpoint {
		if !checkpointFile(file.Path) || seen[file.Path] || directory != "" && path.Dir(file.Path) != directory {
			return fmt.Errorf("%q is no file of the checkpoint, or is there twice", file.Path)
		}
		directory, seen[file.Path] = path.Dir(file.Path), true
		if err := file.check(); err != nil {
			return err
		}
	}
	return nil
}

// checkSegments says what keeps files from being segments.
func checkSegments(files []File) error {
	for _, file := range files {
		if _, ok := segmentOf(file.Path); !ok {
			return fmt.Errorf("%q is no segment", file.Path)
		}
		if err := file.check(); err != nil {
			return err
		}
	}
	return nil
}

// gapless says which segment is missing of those at these paths, which are in their
// order, after the checkpoint in a directory, if there is one: Prometheus does not
// start with a gap.
func gapless(segments []string, checkpointDir string) error {
	if len(segments) == 0 {
		return errors.New("there is no segment of the write-ahead log")
	}
	first, _ := segmentOf(segments[0])
	if covered, ok := checkpointOf(path.Base(checkpointDir)); ok && first > covered+1 {
		return fmt.Errorf("segment %08d of the write-ahead log is missing", covered+1)
	}
	for i, segment := range segments {
		if got, _ := segmentOf(segment); got != first+uint64(i) {
			return fmt.Errorf("segment %08d of the write-ahead log is missing", first+uint64(i))
		}
	}
	return nil
}

// fetchManifest reads a manifest. What is there and is not as it should be is
// errUnusable, or errNewer; so is what is not there.
func fetchManifest(ctx context.Context, store *bucket.Bucket, epoch, sequence uint64) (Manifest, error) {
	text, err := read(ctx, store, manifestKey(epoch, sequence), manifestLimit)
	if lacking(err) {
		return Manifest{}, fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return Manifest{}, err
	}
	return parseManifest(text, epoch, sequence)
}

// parseManifest reads the text of a manifest, with the errors of fetchManifest.
func parseManifest(text []byte, epoch, sequence uint64) (Manifest, error) {
	var manifest Manifest
	if err := unmarshal(text, &manifest); err != nil {
		return manifest, fmt.Errorf("%s is %w: %w", manifestKey(epoch, sequence), errUnusable, err)
	}
	if manifest.Version > version {
		return manifest, fmt.Errorf("%s %w", manifestKey(epoch, sequence), errNewer)
	}
	if err := manifest.check(epoch, sequence); err != nil {
		return manifest, fmt.Errorf("%s is %w: %w", manifestKey(epoch, sequence), errUnusable, err)
	}
	return manifest, nil
}

// fetchCatalogue reads a catalogue, with the errors of fetchManifest.
func fetchCatalogue(ctx context.Context, store *bucket.Bucket, sum string) (Catalogue, error) {
	key := catalogueKey(sum)
	text, err := read(ctx, store, key, catalogueLimit)
	if lacking(err) {
		return Catalogue{}, fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return Catalogue{}, err
	}
	if sumOf(text) != sum {
		return Catalogue{}, fmt.Errorf("%s is %w: it has another SHA-256", key, errUnusable)
	}
	return parseCatalogue(text, key)
}

// parseCatalogue reads the text of a catalogue, with the errors of fetchManifest.
func parseCatalogue(text []byte, key string) (Catalogue, error) {
	var catalogue Catalogue
	if err := unmarshal(text, &catalogue); err != nil {
		return catalogue, fmt.Errorf("%s is %w: %w", key, errUnusable, err)
	}
	if catalogue.Version > version {
		return catalogue, fmt.Errorf("%s %w", key, errNewer)
	}
	if err := checkSegments(catalogue.WAL); err != nil {
		return catalogue, fmt.Errorf("%s is %w: %w", key, errUnusable, err)
	}
	seen := map[string]bool{}
	for _, block := range catalogue.Blocks {
		if err := block.check(); err != nil {
			return catalogue, fmt.Errorf("%s is %w: %w", key, errUnusable, err)
		}
		if seen[block.ULID] {
			return catalogue, fmt.Errorf("%s is %w: block %s is there twice", key, errUnusable, block.ULID)
		}
		seen[block.ULID] = true
	}
	return catalogue, nil
}

// unmarshal reads JSON from the bucket, with a bound on the memory that it takes.
func unmarshal(text []byte, into any) error {
	if bytes.Count(text, []byte("{")) > maxEntries || bytes.Count(text, []byte(",")) > 5*maxEntries {
		return errors.New("it names more files than any server has")
	}
	return json.Unmarshal(text, into)
}

// lacking tells whether an error is that an object is not there, or is there and of no use.
func lacking(err error) bool {
	return errors.Is(err, bucket.ErrNotFound) || errors.Is(err, bucket.ErrUnreadable)
}

// sumOf is the SHA-256 of a text, in hexadecimal digits.
func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
