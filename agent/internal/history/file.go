package history

import (
	"fmt"
	"strings"
)

const (
	walDir     = "wal"
	checkpoint = "checkpoint."
)

// File is a file of the write-ahead log, or of its checkpoint, in the bucket.
type File struct {
	// Path is below Prometheus' data directory: wal/00000012, or
	// wal/checkpoint.00000011/00000000.
	Path string `json:"path"`
	// Epoch is that of the keys.
	Epoch uint64 `json:"epoch"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// SHA256 is that of the whole file, in hexadecimal digits.
	SHA256 string `json:"sha256"`
	// Parts are the lengths of the objects of a segment, in bytes, in their order. A
	// file of a checkpoint is one object.
	Parts []int64 `json:"parts,omitempty"`
}

// object is a key, and how many bytes it holds.
type object struct {
	key  string
	size int64
}

// objects are all that the file consists of, in their order.
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

// partKey is the key of a part of a segment that begins at this offset.
func (f File) partKey(from, length int64) string {
	return fmt.Sprintf("%s%08d/%s/%012d-%012d", walRoot, f.Epoch, strings.TrimPrefix(f.Path, walDir+"/"), from, from+length)
}

// check says what keeps the file from being one of the write-ahead log.
func (f File) check() error {
	_, segment := segmentOf(f.Path)
	if !segment && !checkpointFile(f.Path) {
		return fmt.Errorf("%q is no file of a write-ahead log", f.Path)
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
		return fmt.Errorf("%s has no size or no SHA-256", f.Path)
	default:
		return nil
	}
}

// plausibleSize reports whether a file can have so many bytes. Sums of sizes stay in range.
func plausibleSize(size int64) bool { return size >= 0 && size <= 1<<40 }

// segmentOf is the number of the segment at a path below the data directory; false
// is no segment.
func segmentOf(path string) (uint64, bool) {
	name, ok := strings.CutPrefix(path, walDir+"/")
	segment, also := number(name)
	return segment, ok && also
}

// checkpointOf is the number of a complete checkpoint by the name of its directory.
func checkpointOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, checkpoint)
	index, also := number(digits)
	return index, ok && also
}

// checkpointFile tells whether a path below the data directory is that of a file of a
// complete checkpoint.
func checkpointFile(path string) bool {
	name, ok := strings.CutPrefix(path, walDir+"/")
	dir, file, _ := strings.Cut(name, "/")
	_, complete := checkpointOf(dir)
	_, segment := number(file)
	return ok && complete && segment
}

// isSum tells whether a text is a SHA-256 in hexadecimal digits.
func isSum(text string) bool { return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == "" }
