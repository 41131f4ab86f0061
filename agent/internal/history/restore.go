package history

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/lockfile"
)

// Names below the directory of a Restore.
const (
	// DataDir is Prometheus' own directory.
	DataDir = "data"
	// restoredDir is what was fetched, of which the other is made.
	restoredDir = "restored"
	// CollectingFile is there while Prometheus may collect.
	CollectingFile = "collecting"
	// recordFile tells what was restored.
	recordFile = "restored.json"

	// unfinished ends the name of a directory that is not complete yet.
	unfinished = ".tmp"
	// fetches is how often a transfer that is cut off is begun.
	fetches = 3
)

// errUnreadable is the error of a backup that may be there.
var errUnreadable = errors.New("the backup cannot be read, which is not as if there were none")

// Restore brings the history from the bucket, where another server left it.
// Prometheus must not run meanwhile.
type Restore struct {
	Store *bucket.Bucket
	// Stack is the one that this server belongs to.
	Stack string
	// Dir has Prometheus' data directory in it, and belongs to Prometheus' user.
	Dir string
	// State is the path of the state file of Backup, which goes on from here; "" is
	// none.
	State string
	Log   *slog.Logger
}

// Run brings what the newest manifest names that is of use. That there is none at all
// is no error: then this is the stack's first server, and Prometheus begins with
// nothing. What cannot be read is an error, as is a bucket in which nothing is of use: it
// may be all that there is. What was fetched before an error is not fetched again.
func (r Restore) Run(ctx context.Context) (Result, error) {
	result, err := r.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("restore the history: %w", err)
	}
	return result, nil
}

func (r Restore) run(ctx context.Context) (Result, error) {
	begin := time.Now()
	if _, err := os.Stat(r.Dir); err != nil {
		return Result{}, err
	}
	if r.State != "" {
		unlock, err := lockfile.Lock(ctx, r.State+".lock")
		if err != nil {
			return Result{}, err
		}
		defer unlock()
	}
	// From here on what is in the data directory may be older than what comes.
	if err := os.Remove(r.path(CollectingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	found, manifest, err := r.newest(ctx)
	if err != nil {
		return Result{}, err
	}
	next := &state{Prepared: true, Files: map[string]sentFile{}}
	if found.Found {
		if next, err = r.assemble(manifest); err != nil {
			return Result{}, err
		}
	} else if err := r.makeDir(DataDir); err != nil {
		return Result{}, err
	}
	if r.State != "" {
		// The counts go on.
		before, err := loadState(r.State)
		if err != nil {
			return Result{}, err
		}
		next.Failures, next.LastSuccess = before.Failures, before.LastSuccess
		if err := next.save(r.State); err != nil {
			return Result{}, err
		}
	}
	found.Restored = time.Now().UTC().Truncate(time.Second)
	found.Seconds = time.Since(begin).Seconds()
	return found, found.write(r.path(recordFile))
}

// backup is a manifest with its blocks.
type backup struct {
	Manifest
	blocks []Block
}

// newest fetches what the newest manifest of use names, and tells what it was.
func (r Restore) newest(ctx context.Context) (Result, backup, error) {
	// The manifests first: whatever they name was there before.
	manifests, err := list(ctx, r.Store, manifestRoot)
	if err != nil {
		return Result{}, backup{}, unreadable(err)
	}
	candidates := manifestsIn(manifests)
	if len(candidates) == 0 {
		return Result{}, backup{}, nil
	}
	all, err := list(ctx, r.Store, root)
	if err != nil {
		return Result{}, backup{}, unreadable(err)
	}
	sizes := sizesIn(all)
	var last error
	for i, candidate := range candidates {
		manifest, fetched, err := r.fetch(ctx, candidate, sizes)
		if errors.Is(err, errUnusable) {
			last = err
			r.Log.Error("a backup of the history is of no use: taking the one before", "epoch", candidate.epoch, "sequence", candidate.sequence, "error", err)
			continue
		}
		if err != nil {
			return Result{}, backup{}, err
		}
		result := Result{
			Found: true, Stack: manifest.Stack, Server: manifest.Server, Epoch: manifest.Epoch, Sequence: manifest.Sequence,
			// The bucket's clock may tell the two to different seconds.
			AgeSeconds: max(0, manifests.At.Sub(candidate.modified).Seconds()), Fetched: fetched, Blocks: len(manifest.blocks), Fallbacks: i,
		}
		for _, file := range manifest.files() {
			result.Bytes += file.Size
		}
		for _, block := range manifest.blocks {
			result.Bytes += block.bytes()
		}
		return result, manifest, nil
	}
	return Result{}, backup{}, fmt.Errorf("none of the %d backups in the bucket is of use: bring back earlier versions of what is missing there, or delete %s in it to begin with nothing: the last of them: %w", len(candidates), root, last)
}

// fetch brings to the restored directory what a manifest names and it has not, and
// removes what it does not name. It tells how many bytes came. A backup that is not as
// it should be is errUnusable.
func (r Restore) fetch(ctx context.Context, candidate manifestEntry, sizes map[string]int64) (backup, int64, error) {
	manifest, err := fetchManifest(ctx, r.Store, candidate.epoch, candidate.sequence)
	if err != nil {
		return backup{}, 0, unreadable(err)
	}
	if err := r.accept(manifest); err != nil {
		return backup{}, 0, err
	}
	catalogue, err := fetchCatalogue(ctx, r.Store, manifest.Catalogue)
	if err != nil {
		return backup{}, 0, unreadable(err)
	}
	if key := missing(sizes, append(manifest.objects(), catalogue.objects()...)); key != "" {
		return backup{}, 0, fmt.Errorf("%s is %w: %s is missing, or has another size", manifest, errUnusable, key)
	}
	manifest, err = manifest.with(catalogue)
	if err != nil {
		return backup{}, 0, err
	}

	if err := r.prune(manifest, catalogue.Blocks); err != nil {
		return backup{}, 0, err
	}
	group, fetching := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	jobs := make(chan int64, len(catalogue.Blocks)+len(manifest.files()))
	for _, block := range catalogue.Blocks {
		group.Go(func() error {
			fetched, err := r.block(fetching, block)
			jobs <- fetched
			return err
		})
	}
	for _, file := range manifest.files() {
		group.Go(func() error {
			fetched, err := r.file(fetching, file)
			jobs <- fetched
			return err
		})
	}
	err = group.Wait()
	close(jobs)
	var fetched int64
	for job := range jobs {
		fetched += job
	}
	return backup{manifest, catalogue.Blocks}, fetched, err
}

// unreadable says of an error of the bucket that it tells nothing about what is there.
func unreadable(err error) error {
	if errors.Is(err, errUnusable) || errors.Is(err, errNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnreadable, err)
}

// accept makes sure that a backup is of this stack, or that somebody has said that it is
// to be taken over, by restoring it here in the name of its own stack.
func (r Restore) accept(manifest Manifest) error {
	if manifest.Stack == r.Stack {
		return nil
	}
	taken, err := ReadResult(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if taken.Found && taken.Stack == manifest.Stack {
		return nil
	}
	return fmt.Errorf("it is that of another stack, %s, which %s wrote: give stack %s a backup bucket of its own, or, "+
		"if it is to go on with that history, run `agent restore --stack %s` on this server and update again", manifest.Stack, manifest.Server, r.Stack, manifest.Stack)
}

// prune removes from the restored directory what is not named.
func (r Restore) prune(manifest Manifest, blocks []Block) error {
	keep := map[string]bool{}
	for _, file := range manifest.files() {
		for path := file.Path; path != "."; path = filepath.Dir(path) {
			keep[path] = true
		}
	}
	for _, block := range blocks {
		keep[block.ULID], keep[block.ULID+unfinished] = true, true
	}
	restored := r.path(restoredDir)
	if err := os.MkdirAll(filepath.Join(restored, walDir), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{".", walDir} {
		entries, err := os.ReadDir(filepath.Join(restored, dir))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if name := filepath.Join(dir, entry.Name()); !keep[name] {
				if err := os.RemoveAll(filepath.Join(restored, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// block fetches a block, whose directory gets its name when all of it is there.
func (r Restore) block(ctx context.Context, block Block) (fetched int64, err error) {
	dir := r.path(restoredDir, block.ULID)
	if complete(dir, block) {
		return 0, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	for _, file := range block.Files {
		local := filepath.Join(dir+unfinished, file.Path)
		if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
			return fetched, err
		}
		more, err := r.whole(ctx, local, file.Size, file.SHA256, []object{{block.key(file.Path), file.Size}})
		fetched += more
		if err != nil {
			return fetched, err
		}
	}
	return fetched, os.Rename(dir+unfinished, dir)
}

// complete tells whether all files of a block are there.
func complete(dir string, block Block) bool {
	for _, file := range block.Files {
		if stat, err := os.Stat(filepath.Join(dir, file.Path)); err != nil || stat.Size() != file.Size {
			return false
		}
	}
	return true
}

// file fetches what is new of a file of the write-ahead log.
func (r Restore) file(ctx context.Context, file File) (fetched int64, err error) {
	local := r.path(restoredDir, file.Path)
	if err := os.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return 0, err
	}
	return r.whole(ctx, local, file.Size, file.SHA256, file.objects())
}

// whole fetches the objects that a file consists of, but for those at its beginning that
// are there already, so that it has this size and SHA-256 in the end.
func (r Restore) whole(ctx context.Context, local string, size int64, sum string, objects []object) (fetched int64, err error) {
	file, err := os.OpenFile(local, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return 0, err
	}
	have := stat.Size()
	for {
		var from int64
		begun := false
		for _, object := range objects {
			if !begun && from+object.size <= have {
				from += object.size
				continue
			}
			begun = true
			if err := r.object(ctx, file, object, from); err != nil {
				return fetched, err
			}
			from += object.size
			fetched += object.size
		}
		if err := file.Truncate(size); err != nil {
			return fetched, err
		}
		hasher := sha256.New()
		if _, err := io.Copy(hasher, io.NewSectionReader(file, 0, size)); err != nil {
			return fetched, fmt.Errorf("read %s: %w", local, err)
		}
		if hex.EncodeToString(hasher.Sum(nil)) == sum {
			return fetched, file.Close()
		}
		if have == 0 {
			return fetched, fmt.Errorf("%s is %w: its SHA-256 is another one", filepath.Base(local), errUnusable)
		}
		// What was there was another file of this name.
		have = 0
	}
}

// object fetches an object to its place in a file.
func (r Restore) object(ctx context.Context, file *os.File, object object, at int64) error {
	var last error
	for range fetches {
		if last = r.attempt(ctx, file, object, at); last == nil || !errors.Is(last, errCut) || ctx.Err() != nil {
			return last
		}
	}
	return last
}

// errCut marks a transfer that ended too early.
var errCut = errors.New("the transfer was cut off")

func (r Restore) attempt(ctx context.Context, file *os.File, object object, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout(object.size))
	defer cancel()
	got, err := r.Store.Get(ctx, object.key, "")
	if errors.Is(err, bucket.ErrNotFound) {
		return fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return unreadable(bucket.WithAdvice(err))
	}
	defer got.Body.Close()
	// One byte more would be too many: the hash would not tell if they were cut off.
	read := &failing{reader: io.LimitReader(got.Body, object.size+1)}
	written, err := io.Copy(io.NewOffsetWriter(file, at), read)
	switch {
	case read.err != nil:
		return unreadable(fmt.Errorf("get %s: %w: %w", object.key, errCut, read.err))
	case err != nil:
		return err
	case written != object.size:
		return fmt.Errorf("%s is %w: it has not %d bytes", object.key, errUnusable, object.size)
	default:
		return nil
	}
}

// failing is a reader that keeps its error, to tell it from one of the disk.
type failing struct {
	reader io.Reader
	err    error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.reader.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// path is that of a name below the directory.
func (r Restore) path(names ...string) string {
	return filepath.Join(append([]string{r.Dir}, names...)...)
}
