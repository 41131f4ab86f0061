package history

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/lockfile"
)

const (
	// partLimit is the maximum size of an object with a part of a segment, in bytes: an interrupted upload starts
	// over with that object.
	partLimit = 16 << 20
	// maxListings is how often a changing directory is listed before giving up.
	maxListings = 5
	// garbageInterval is the number of runs between two garbage collections in the bucket.
	garbageInterval = 60
)

// errChanging is the error of files that keep changing.
var errChanging = errors.New("the files change faster than they can be uploaded")

// Backup uploads the new parts of Prometheus' data directory. Only the server that holds the VIP may do this.
type Backup struct {
	Store         *bucket.Bucket
	Server, Stack string
	Dir           string
	// State is the path of the file that records what the bucket holds.
	State string
	// Retention is how long the bucket keeps objects that are not current.
	Retention time.Duration
	Log       *slog.Logger
}

// Report describes a run.
type Report struct {
	// Bytes and Objects are how much was uploaded, including the manifest.
	Bytes           int64
	Objects         int
	Epoch, Sequence uint64
	Duration        time.Duration
}

// Run uploads new data, and sometimes collects garbage. After an error, the next run does not
// repeat uploads.
func (b Backup) Run(ctx context.Context) (Report, error) { return b.run(ctx, true) }

// Last is Run without garbage collection, for a caller that is waiting.
func (b Backup) Last(ctx context.Context) (Report, error) { return b.run(ctx, false) }

func (b Backup) run(ctx context.Context, garbage bool) (report Report, err error) {
	begin := time.Now()
	unlock, err := lockfile.Lock(ctx, b.State+".lock")
	if err != nil {
		return Report{}, fmt.Errorf("cannot back up the history: %w", err)
	}
	defer unlock()
	state, err := loadState(b.State)
	if err != nil {
		return Report{}, fmt.Errorf("cannot back up the history: %w", err)
	}
	run := &upload{Backup: b, state: state, tsdb: tsdb{b.Dir}}
	err = run.all(ctx, garbage)
	run.report.Epoch, run.report.Sequence, run.report.Duration = state.Epoch, state.Manifest, time.Since(begin)
	if err != nil {
		return run.report, fmt.Errorf("cannot back up the history: %w", errors.Join(err, run.save()))
	}
	return run.report, nil
}

type upload struct {
	Backup
	state  *state
	tsdb   tsdb
	report Report
	// unsaved is how many uploaded bytes the state file does not record yet.
	unsaved int64
}

func (u *upload) all(ctx context.Context, garbage bool) error {
	switch _, err := os.Lstat(u.Dir); {
	case errors.Is(err, fs.ErrNotExist) && len(u.state.Files) == 0:
		// Prometheus has never run here, so there is nothing to back up.
		return nil
	case err != nil:
		return err
	}
	if err := u.fence(ctx); err != nil {
		return err
	}
	if err := u.send(ctx); err != nil {
		return err
	}
	if !garbage || u.state.Runs < garbageInterval {
		return nil
	}
	lost, err := u.collectGarbage(ctx)
	if err != nil {
		return fmt.Errorf("cannot collect garbage: %w", err)
	}
	if lost {
		return u.send(ctx)
	}
	return nil
}

// send uploads new data and the manifest that lists everything.
func (u *upload) send(ctx context.Context) error {
	if err := u.log(ctx); err != nil {
		return err
	}
	if err := u.blocks(ctx); err != nil {
		return err
	}
	if err := u.catalogue(ctx); err != nil {
		return err
	}
	return u.manifest(ctx)
}

// log uploads the new bytes of the write-ahead log, and its checkpoint.
func (u *upload) log(ctx context.Context) error {
	var last error
	for range maxListings {
		checkpointFiles, segments, err := u.tsdb.log()
		if errors.Is(err, fs.ErrNotExist) {
			last = err
			continue
		}
		if err != nil {
			return err
		}
		paths := append(checkpointFiles, segments...)
		sent, err := u.each(ctx, paths, u.file)
		if err != nil {
			return err
		}
		checkpointAfter, segmentsAfter, err := u.tsdb.log()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !sent || err != nil || !slices.Equal(paths, append(checkpointAfter, segmentsAfter...)) {
			last = errChanging
			continue
		}
		dir := ""
		if len(checkpointFiles) > 0 {
			dir = filepath.Dir(checkpointFiles[0])
		}
		if last = gapless(segments, dir); last != nil {
			continue
		}
		maps.DeleteFunc(u.state.Files, func(path string, _ sentFile) bool { return !slices.Contains(paths, path) })
		if len(u.state.Files) < len(paths) {
			// A new epoch began in the meantime, and a recorded file was missing from the bucket.
			last = errChanging
			continue
		}
		return nil
	}
	return fmt.Errorf("cannot upload the write-ahead log in %s: %w", u.Dir, last)
}

// each uploads the named files one by one. all is false if a file no longer exists.
func (u *upload) each(
	ctx context.Context, names []string, send func(ctx context.Context, name string) error,
) (all bool, err error) {
	for _, name := range names {
		err := send(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// file uploads the new part of a file of the write-ahead log.
func (u *upload) file(ctx context.Context, path string) error {
	file, err := os.Open(filepath.Join(u.Dir, path))
	if err != nil {
		return err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	known, exists := u.state.Files[path]
	if exists &&
		(known.Inode != inode(stat) || stat.Size() < known.Size || stat.Size() > known.Size &&
			(known.Epoch != u.state.Epoch || checkpointFile(path))) {
		// The file was replaced, or it grew after an upload in another epoch. If the upload was in this epoch, its
		// keys are in use.
		if known.Epoch == u.state.Epoch {
			u.Log.Warn("a file of the write-ahead log was replaced: starting another epoch for it", "file", path)
			if err := u.claim(ctx); err != nil {
				return err
			}
		}
		exists = false
	}
	if !exists {
		known = newSent(path, u.state.Epoch, inode(stat))
	}
	if checkpointFile(path) {
		if exists {
			return nil
		}
		known.Size = stat.Size()
		return u.part(ctx, &known, known.objects()[0].key, file, 0, known.Size)
	}
	for known.Size < stat.Size() {
		from, length := known.Size, min(stat.Size()-known.Size, partLimit)
		key := known.partKey(from, length)
		known.Parts = append(slices.Clip(known.Parts), length)
		known.Size += length
		if err := u.part(ctx, &known, key, file, from, length); err != nil {
			return err
		}
	}
	// A file that is still empty has no object.
	u.state.Files[path] = known
	return nil
}

// part uploads a section of a file, and records the upload.
func (u *upload) part(ctx context.Context, known *sentFile, key string, file io.ReaderAt, from, length int64) error {
	hasher, err := known.hasher()
	if err != nil {
		return err
	}
	if _, err := io.CopyN(hasher, io.NewSectionReader(file, from, length), length); err != nil {
		return fmt.Errorf("cannot read %s: %w", known.Path, err)
	}
	if err := u.putSection(ctx, key, io.NewSectionReader(file, from, length)); err != nil {
		return err
	}
	known.setHash(hasher)
	u.state.Files[known.Path] = *known
	return u.sent(length)
}

func (u *upload) blocks(ctx context.Context) error {
	for range maxListings {
		ulids, err := u.tsdb.blocks()
		if err != nil {
			return err
		}
		sent, err := u.each(ctx, ulids, u.block)
		if err != nil {
			return err
		}
		after, err := u.tsdb.blocks()
		if err != nil {
			return err
		}
		if sent && slices.Equal(ulids, after) {
			u.state.Blocks = slices.DeleteFunc(u.state.Blocks,
				func(block Block) bool { return !slices.Contains(ulids, block.ULID) })
			return nil
		}
	}
	return fmt.Errorf("cannot upload the blocks in %s: %w", u.Dir, errChanging)
}

func (u *upload) block(ctx context.Context, ulid string) error {
	if _, sent := u.state.block(ulid); sent {
		return nil
	}
	files, err := u.tsdb.files(ulid)
	if err != nil {
		return err
	}
	block := Block{ULID: ulid}
	for _, name := range files {
		sent, err := u.blockFile(ctx, block, name)
		if err != nil {
			return err
		}
		block.Files = append(block.Files, sent)
	}
	if err := block.check(); err != nil {
		return err
	}
	u.state.Blocks = append(u.state.Blocks, block)
	slices.SortFunc(u.state.Blocks, func(a, b Block) int { return strings.Compare(a.ULID, b.ULID) })
	return u.sent(block.bytes())
}

func (u *upload) blockFile(ctx context.Context, block Block, name string) (BlockFile, error) {
	file, err := os.Open(filepath.Join(u.Dir, block.ULID, name))
	if err != nil {
		return BlockFile{}, err
	}
	defer file.Close()
	hasher := sha256.New()
	size, err := io.Copy(hasher, file)
	if err != nil {
		return BlockFile{}, fmt.Errorf("cannot read %s of block %s: %w", name, block.ULID, err)
	}
	if err := u.putSection(ctx, block.key(name), io.NewSectionReader(file, 0, size)); err != nil {
		return BlockFile{}, err
	}
	return BlockFile{Path: name, Size: size, SHA256: hex.EncodeToString(hasher.Sum(nil))}, nil
}

// segments returns the segments of the write-ahead log, in order.
func (u *upload) segments() []File {
	var paths []string
	for path := range u.state.Files {
		if !checkpointFile(path) {
			paths = append(paths, path)
		}
	}
	byNumber(paths)
	var segments []File
	for _, path := range paths {
		segments = append(segments, u.state.Files[path].File)
	}
	return segments
}

// catalogue uploads the catalogue of files that no longer change, if it differs from the last one.
func (u *upload) catalogue(ctx context.Context) error {
	segments := u.segments()
	text, err := json.Marshal(Catalogue{Version: version, WAL: segments[:max(len(segments)-1, 0)], Blocks: u.state.Blocks})
	if err != nil {
		return fmt.Errorf("cannot write the catalogue: %w", err)
	}
	sum := sumOf(text)
	if sum == u.state.Catalogue {
		return nil
	}
	if err := u.put(ctx, catalogueKey(sum), text); err != nil {
		return err
	}
	u.state.Catalogue = sum
	return nil
}

// manifest uploads the manifest of the current data.
func (u *upload) manifest(ctx context.Context) error {
	// Saved before the upload, so that no two manifests ever have the same key.
	u.state.Sequence++
	if err := u.save(); err != nil {
		return err
	}
	manifest := Manifest{
		Version: version, Stack: u.Stack, Server: u.Server, Epoch: u.state.Epoch, Sequence: u.state.Sequence,
		Time: time.Now().UTC().Truncate(time.Second), Catalogue: u.state.Catalogue,
	}
	for path, file := range u.state.Files {
		if checkpointFile(path) {
			manifest.Checkpoint = append(manifest.Checkpoint, file.File)
		}
	}
	slices.SortFunc(manifest.Checkpoint, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	segments := u.segments()
	manifest.WAL = segments[max(len(segments)-1, 0):]
	if err := manifest.check(manifest.Epoch, manifest.Sequence); err != nil {
		return fmt.Errorf("%s would be unusable: %w", manifest, err)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("cannot write the manifest: %w", err)
	}
	if err := u.put(ctx, manifestKey(manifest.Epoch, manifest.Sequence), append(text, '\n')); err != nil {
		return err
	}
	u.state.Manifest = u.state.Sequence
	u.state.Runs++
	return u.save()
}

func (u *upload) put(ctx context.Context, key string, content []byte) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout(int64(len(content))))
	defer cancel()
	if err := u.Store.Put(ctx, key, content, jsonType); err != nil {
		return bucket.WithAdvice(err)
	}
	u.count(int64(len(content)))
	return nil
}

func (u *upload) putSection(ctx context.Context, key string, section *io.SectionReader) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout(section.Size()))
	defer cancel()
	if err := u.Store.PutSection(ctx, key, section); err != nil {
		return bucket.WithAdvice(err)
	}
	u.count(section.Size())
	return nil
}

func (u *upload) count(bytes int64) {
	u.report.Bytes += bytes
	u.report.Objects++
}

// sent saves the state from time to time, in case this process is killed.
func (u *upload) sent(bytes int64) error {
	if u.unsaved += bytes; u.unsaved < partLimit {
		return nil
	}
	return u.save()
}

func (u *upload) save() error {
	u.unsaved = 0
	return u.state.save(u.State)
}
