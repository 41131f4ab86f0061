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
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/handover"
)

const (
	version = 1
	// manifestLimit exceeds the size of any manifest, in bytes, and catalogueLimit that of any
	// catalogue.
	manifestLimit  = 256 << 10
	catalogueLimit = 4 << 20
	// maxEntries exceeds the number of files and parts in any catalogue. It bounds the memory for decoding: two
	// bytes of JSON can take many more in memory.
	maxEntries = 100_000
)

var (
	// errUnusable marks an invalid backup, as opposed to one that could not be read.
	errUnusable = errors.New("unusable")
	// errNewer marks an object that was written by a newer agent.
	errNewer = errors.New("was written by a newer agent: use that one, or a newer one, here too")
)

// Manifest lists everything that the bucket holds of a server's history at one time. Its catalogue lists the parts
// that rarely change, so that the size of the manifest does not grow.
type Manifest struct {
	Version int `json:"version"`
	// Stack is the name of the stack that owns the history.
	Stack string `json:"stack"`
	// Server is the EC2 instance id of the writer.
	Server string `json:"server"`
	// Epoch and Sequence order all manifests.
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	// Time is informational: nothing depends on the clock of the server.
	Time time.Time `json:"time"`
	// WAL is the last segment of the write-ahead log, the only one that grows. The earlier
	// segments, whose many parts stay the same for hours, are in the catalogue.
	WAL []File `json:"wal"`
	// Checkpoint lists the files of the newest complete checkpoint, if there is one.
	Checkpoint []File `json:"checkpoint,omitempty"`
	// Catalogue is the SHA-256 of the catalogue.
	Catalogue string `json:"catalogue"`
}

// Catalogue lists the files of manifests that no longer change.
type Catalogue struct {
	Version int `json:"version"`
	// WAL are the segments before the last one, in order and without a gap.
	WAL []File `json:"wal,omitempty"`
	// Blocks are in the order of their ULIDs.
	Blocks []Block `json:"blocks"`
}

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

func (m Manifest) String() string {
	return fmt.Sprintf("manifest %d of epoch %d", m.Sequence, m.Epoch)
}

func (m Manifest) files() []File { return append(append([]File(nil), m.Checkpoint...), m.WAL...) }

func (m Manifest) objects() []object {
	var objects []object
	for _, file := range m.files() {
		objects = append(objects, file.objects()...)
	}
	return objects
}

// with returns the manifest with the segments of its catalogue added. The error for a gap between the segments is
// errUnusable.
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

// check returns an error if the manifest is unusable.
func (m Manifest) check(epoch, sequence uint64) error {
	switch {
	case m.Epoch != epoch || m.Sequence != sequence:
		return fmt.Errorf("it claims to be %s", m)
	case !handover.IsName(m.Stack) || !handover.IsName(m.Server) || !isSum(m.Catalogue):
		return errors.New("its stack, server or catalogue is missing or invalid")
	}
	if err := checkSegments(m.WAL); err != nil {
		return err
	}
	directory := ""
	seen := map[string]bool{}
	for _, file := range m.Checkpoint {
		if !checkpointFile(file.Path) || seen[file.Path] || directory != "" && path.Dir(file.Path) != directory {
			return fmt.Errorf("%q is not a file of the checkpoint, or is listed twice", file.Path)
		}
		directory, seen[file.Path] = path.Dir(file.Path), true
		if err := file.check(); err != nil {
			return err
		}
	}
	return nil
}

func checkSegments(files []File) error {
	for _, file := range files {
		if _, ok := segmentOf(file.Path); !ok {
			return fmt.Errorf("%q is not a segment", file.Path)
		}
		if err := file.check(); err != nil {
			return err
		}
	}
	return nil
}

// gapless returns an error for the first missing segment, because Prometheus does not start with a gap. The
// segments are in order, and follow the checkpoint in checkpointDir, unless that is "".
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

// fetchManifest reads a manifest. The error for a missing or invalid one is errUnusable, or errNewer.
func fetchManifest(ctx context.Context, store *bucket.Bucket, epoch, sequence uint64) (Manifest, error) {
	text, err := read(ctx, store, manifestKey(epoch, sequence), manifestLimit)
	if missingOrUnreadable(err) {
		return Manifest{}, fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return Manifest{}, err
	}
	return parseManifest(text, epoch, sequence)
}

// parseManifest parses a manifest, with the errors of fetchManifest.
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
	if missingOrUnreadable(err) {
		return Catalogue{}, fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return Catalogue{}, err
	}
	if sumOf(text) != sum {
		return Catalogue{}, fmt.Errorf("%s is %w: its SHA-256 does not match its name", key, errUnusable)
	}
	return parseCatalogue(text, key)
}

// parseCatalogue parses a catalogue, with the errors of fetchManifest.
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
			return catalogue, fmt.Errorf("%s is %w: block %s is listed twice", key, errUnusable, block.ULID)
		}
		seen[block.ULID] = true
	}
	return catalogue, nil
}

// unmarshal decodes JSON from the bucket, within a memory limit.
func unmarshal(text []byte, into any) error {
	if bytes.Count(text, []byte("{")) > maxEntries || bytes.Count(text, []byte(",")) > 5*maxEntries {
		return errors.New("it lists more files than any server has")
	}
	return json.Unmarshal(text, into)
}

// missingOrUnreadable reports whether an error means that an object is missing or unreadable.
func missingOrUnreadable(err error) bool {
	return errors.Is(err, bucket.ErrNotFound) || errors.Is(err, bucket.ErrUnreadable)
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// metaName is the file that describes a block.
const metaName = "meta.json"

// Block is a block of Prometheus in the bucket: the samples of two hours. It never changes.
type Block struct {
	ULID string `json:"ulid"`
	// Files are in the order of their upload: meta.json is the last.
	Files []BlockFile `json:"files"`
}

type BlockFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (b Block) key(path string) string { return blockRoot + b.ULID + "/" + path }

func (b Block) objects() []object {
	var objects []object
	for _, file := range b.Files {
		objects = append(objects, object{b.key(file.Path), file.Size})
	}
	return objects
}

func (b Block) bytes() int64 {
	var sum int64
	for _, file := range b.Files {
		sum += file.Size
	}
	return sum
}

// check returns an error if the block is invalid.
func (b Block) check() error {
	if !isULID(b.ULID) {
		return fmt.Errorf("%q is not the name of a block", b.ULID)
	}
	found := map[string]bool{}
	for _, file := range b.Files {
		if !blockFile(file.Path) || !plausibleSize(file.Size) || !isSum(file.SHA256) || found[file.Path] {
			return fmt.Errorf("block %s: %q is not a file of a block, is listed twice, or has no valid size or SHA-256", b.ULID,
				file.Path)
		}
		found[file.Path] = true
	}
	if !found[metaName] || !found["index"] {
		return fmt.Errorf("block %s has no index or no meta.json", b.ULID)
	}
	return nil
}

func isULID(name string) bool {
	return len(name) == 26 && strings.Trim(name, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == ""
}

// blockFile reports whether a path below a block's directory is that of a file of Prometheus.
func blockFile(path string) bool {
	if chunk, ok := strings.CutPrefix(path, "chunks/"); ok {
		return chunk != "" && len(chunk) <= 20 && strings.Trim(chunk, "0123456789") == ""
	}
	return path == "index" || path == "tombstones" || path == metaName
}

const (
	walDir     = "wal"
	checkpoint = "checkpoint."
)

// File is a file of the write-ahead log or of its checkpoint in the bucket.
type File struct {
	// Path is below Prometheus' data directory: wal/00000012, or
	// wal/checkpoint.00000011/00000000.
	Path string `json:"path"`
	// Epoch is the epoch in the keys.
	Epoch uint64 `json:"epoch"`
	Size  int64  `json:"size"`
	// SHA256 is the hash of the whole file, in hexadecimal digits.
	SHA256 string `json:"sha256"`
	// Parts are the sizes of a segment's objects, in bytes, in order. A file of a checkpoint is one
	// object.
	Parts []int64 `json:"parts,omitempty"`
}

// object is a key and a size in bytes.
type object struct {
	key  string
	size int64
}

func (f File) objects() []object {
	name := strings.TrimPrefix(f.Path, walDir+"/")
	if strings.HasPrefix(name, checkpoint) {
		return []object{{fmt.Sprintf("%s%08d/%s", chkptRoot, f.Epoch, name), f.Size}}
	}
	var objects []object
	var from int64
	for _, length := range f.Parts {
		objects = append(objects, object{f.partKey(from, length), length})
		from += length
	}
	return objects
}

// partKey returns the key of the part of a segment with this offset and length.
func (f File) partKey(from, length int64) string {
	return fmt.Sprintf("%s%08d/%s/%012d-%012d", walRoot, f.Epoch, strings.TrimPrefix(f.Path, walDir+"/"), from,
		from+length)
}

// check returns an error if the file is invalid.
func (f File) check() error {
	_, segment := segmentOf(f.Path)
	if !segment && !checkpointFile(f.Path) {
		return fmt.Errorf("%q is not a file of a write-ahead log", f.Path)
	}
	var sum int64
	for _, length := range f.Parts {
		if length <= 0 || !plausibleSize(length) || !plausibleSize(sum) {
			return fmt.Errorf("%s has a part of %d bytes", f.Path, length)
		}
		sum += length
	}
	switch {
	case segment && sum != f.Size:
		return fmt.Errorf("%s has %d bytes, and its parts have %d", f.Path, f.Size, sum)
	case !plausibleSize(f.Size) || !isSum(f.SHA256):
		return fmt.Errorf("%s has no valid size or SHA-256", f.Path)
	default:
		return nil
	}
}

// plausibleSize reports whether a file can have this size. Sums of such sizes do not overflow.
func plausibleSize(size int64) bool { return size >= 0 && size <= 1<<40 }

// segmentOf returns the number of the segment at a path below the data directory, and false if the path is not a
// segment.
func segmentOf(path string) (uint64, bool) {
	name, ok := strings.CutPrefix(path, walDir+"/")
	segment, also := number(name)
	return segment, ok && also
}

// checkpointOf returns the number of a complete checkpoint, from the name of its directory.
func checkpointOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, checkpoint)
	index, also := number(digits)
	return index, ok && also
}

// checkpointFile reports whether a path below the data directory is a file of a complete
// checkpoint.
func checkpointFile(path string) bool {
	name, ok := strings.CutPrefix(path, walDir+"/")
	dir, file, _ := strings.Cut(name, "/")
	_, complete := checkpointOf(dir)
	_, segment := number(file)
	return ok && complete && segment
}

func isSum(text string) bool { return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == "" }
