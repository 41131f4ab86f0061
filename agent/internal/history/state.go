package history

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"immutable-infra/agent/internal/lockfile"
	"immutable-infra/server/atomicfile"
)

// stateLimit exceeds the size of any state, in bytes.
const stateLimit = 64 << 20

// state is what a server knows about the bucket, in a file that outlives the process: without it, everything would
// have to be uploaded again, or downloaded to compare.
type state struct {
	// Prepared reports whether the previous content of the bucket is known: a restore has read it,
	// or there was none.
	Prepared bool `json:"prepared"`
	// Epoch is this server's epoch; 0 if it has none yet. Sequence is the number of the last manifest that was
	// begun in it, and Manifest that of the last one in the bucket.
	Epoch    uint64 `json:"epoch"`
	Sequence uint64 `json:"sequence"`
	Manifest uint64 `json:"manifest"`
	// Catalogue is the SHA-256 of the uploaded catalogue.
	Catalogue string `json:"catalogue"`
	// Files are the uploaded parts of the write-ahead log's files, by path.
	Files map[string]sentFile `json:"files"`
	// Blocks are the uploaded blocks, in the order of their ULIDs.
	Blocks []Block `json:"blocks"`
	// Runs counts the manifests since the last garbage collection.
	Runs int `json:"runs"`
	// Lost counts the objects that this server wrote, did not delete, and could not find in the
	// bucket.
	Lost uint64 `json:"lost"`
	// Failures and LastSuccess are for the metrics: see Tally.
	Failures    uint64 `json:"failures"`
	LastSuccess int64  `json:"lastSuccess"`
}

// sentFile is the uploaded part of a file.
type sentFile struct {
	File
	// Inode is the inode of the file on the disk: a file of the same name with another inode is a different file.
	Inode uint64 `json:"inode"`
	// Hash is the state of the SHA-256 of all uploaded bytes, so that they need not be read again
	// when the file grows.
	Hash []byte `json:"hash"`
}

// loadState reads the state. Without the file, the state is empty and not prepared.
func loadState(path string) (*state, error) {
	loaded := &state{Files: map[string]sentFile{}}
	text, err := atomicfile.Read(path, stateLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return loaded, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of the backup: %w", err)
	}
	if err := json.Unmarshal(text, loaded); err != nil {
		return nil, fmt.Errorf("cannot read the state of the backup: %s: %w: delete it, and replace this server", path, err)
	}
	if loaded.Files == nil {
		loaded.Files = map[string]sentFile{}
	}
	return loaded, nil
}

func (s *state) save(path string) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = atomicfile.Write(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot save the state of the backup: %w", err)
	}
	return nil
}

// forget marks everything as not uploaded.
func (s *state) forget() {
	s.Manifest, s.Catalogue, s.Files, s.Blocks = 0, "", map[string]sentFile{}, nil
}

// block returns an uploaded block.
func (s *state) block(ulid string) (Block, bool) {
	i, found := slices.BinarySearchFunc(s.Blocks, ulid,
		func(block Block, ulid string) int { return strings.Compare(block.ULID, ulid) })
	if !found {
		return Block{}, false
	}
	return s.Blocks[i], true
}

// newSent returns a file of which nothing was uploaded yet.
func newSent(path string, epoch, inode uint64) sentFile {
	file := sentFile{File: File{Path: path, Epoch: epoch}, Inode: inode}
	file.setHash(sha256.New())
	return file
}

// hasher returns a hash that continues the SHA-256 of the uploaded bytes.
func (f sentFile) hasher() (hash.Hash, error) {
	hasher := sha256.New()
	// The documentation of crypto/sha256 guarantees this interface.
	if err := hasher.(encoding.BinaryUnmarshaler).UnmarshalBinary(f.Hash); err != nil {
		return nil, fmt.Errorf("cannot resume the SHA-256 of %s: %w", f.Path, err)
	}
	return hasher, nil
}

// setHash records the SHA-256 of the uploaded bytes.
func (f *sentFile) setHash(hasher hash.Hash) {
	f.Hash, _ = hasher.(encoding.BinaryMarshaler).MarshalBinary()
	f.SHA256 = hex.EncodeToString(hasher.Sum(nil))
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

// Tally counts the backups of this server.
type Tally struct {
	Failures uint64
	// Lost is how many objects of this server were missing from the bucket although it did not delete them.
	Lost uint64
	// LastSuccess is when the last successful backup ended; zero for never.
	LastSuccess time.Time
}

// Note counts a run that has just ended, and whether another object was missing from the bucket. It returns the
// counts so far.
func (b Backup) Note(ctx context.Context, failed, missing bool) (Tally, error) {
	unlock, err := lockfile.Lock(ctx, b.State+".lock")
	if err != nil {
		return Tally{}, err
	}
	defer unlock()
	state, err := loadState(b.State)
	if err != nil {
		return Tally{}, err
	}
	if missing {
		state.Lost++
	}
	if failed {
		state.Failures++
	} else {
		state.LastSuccess = time.Now().Unix()
	}
	tally := Tally{Failures: state.Failures, Lost: state.Lost}
	if state.LastSuccess > 0 {
		tally.LastSuccess = time.Unix(state.LastSuccess, 0)
	}
	return tally, state.save(b.State)
}
