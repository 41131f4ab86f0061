package history

import (
	"fmt"
	"strings"
)

// metaName is the file of a block that says what the block is.
const metaName = "meta.json"

// Block is a block of Prometheus in the bucket: what was measured in two hours. It
// never changes.
type Block struct {
	ULID string `json:"ulid"`
	// Files are in the order in which they are sent: meta.json is the last.
	Files []BlockFile `json:"files"`
}

// BlockFile is a file of a block.
type BlockFile struct {
	// Path is below the block's directory.
	Path string `json:"path"`
	// Size is in bytes.
	Size int64 `json:"size"`
	// SHA256 is in hexadecimal digits.
	SHA256 string `json:"sha256"`
}

// key is the key of one of the block's files.
func (b Block) key(path string) string { return blockRoot + b.ULID + "/" + path }

// objects are all that the block consists of.
func (b Block) objects() []object {
	var objects []object
	for _, file := range b.Files {
		objects = append(objects, object{b.key(file.Path), file.Size})
	}
	return objects
}

// bytes is the size of the block.
func (b Block) bytes() int64 {
	var sum int64
	for _, file := range b.Files {
		sum += file.Size
	}
	return sum
}

// check says what keeps it from being a block.
func (b Block) check() error {
	if !isULID(b.ULID) {
		return fmt.Errorf("%q is no name of a block", b.ULID)
	}
	found := map[string]bool{}
	for _, file := range b.Files {
		if !blockFile(file.Path) || !plausibleSize(file.Size) || !isSum(file.SHA256) || found[file.Path] {
			return fmt.Errorf("block %s: %q is no file of a block, is there twice, or has no size or SHA-256", b.ULID, file.Path)
		}
		found[file.Path] = true
	}
	if !found[metaName] || !found["index"] {
		return fmt.Errorf("block %s has no index or no meta.json", b.ULID)
	}
	return nil
}

// isULID tells whether a name is one of a block.
func isULID(name string) bool {
	return len(name) == 26 && strings.Trim(name, "0123456789ABCDEFGHJKMNPQRSTVWXYZ") == ""
}

// blockFile tells whether a path below a block's directory is one of Prometheus'.
func blockFile(path string) bool {
	if chunk, ok := strings.CutPrefix(path, "chunks/"); ok {
		return chunk != "" && len(chunk) <= 20 && strings.Trim(chunk, "0123456789") == ""
	}
	return path == "index" || path == "tombstones" || path == metaName
}
