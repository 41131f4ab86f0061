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
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/lockfile"
	"immutable-infra/server/atomicfile"
)

// Names below the directory of a Restore.
const (
	DataDir = "data"
	// restoredDir contains the downloaded files, from which the data directory is built.
	restoredDir = "restored"
	// CollectingFile exists while Prometheus may collect.
	CollectingFile = "collecting"
	recordFile     = "restored.json"

	// unfinished ends the name of an incomplete directory.
	unfinished = ".tmp"
	// fetchAttempts is how often a transfer is attempted.
	fetchAttempts = 3

	// maxTried is how many manifests are tried at most, which is more than garbage collection keeps. searchTime is
	// how long manifests are tried.
	maxTried   = 300
	searchTime = 3 * time.Minute
)

// errUnreadable is the error if it is unknown whether a usable backup exists.
var errUnreadable = errors.New("the backup is unreadable; refusing to treat it as missing")

// Restore downloads the history from the bucket, where another server uploaded it. Prometheus must not be running.
type Restore struct {
	Store *bucket.Bucket
	// Stack is the stack that this server belongs to.
	Stack string
	// Dir contains Prometheus' data directory, and belongs to Prometheus' user.
	Dir string
	// State is the path of the state file of Backup, which continues from the restored data; "" for none.
	State string
	Log   *slog.Logger
}

// Run restores the newest usable backup of this stack or, without one, of the stack's previous
// name. Previous servers may have written anything to the bucket: Run logs and skips unusable
// backups. If none is usable, Prometheus starts with an empty history, as on a stack's first
// server; Result.Lost reports that. A bucket that does not respond is an error, since it may hold a
// usable backup. After an error, the next Run does not repeat downloads.
func (r Restore) Run(ctx context.Context) (Result, error) {
	result, err := r.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("cannot restore the history: %w", err)
	}
	return result, nil
}

func (r Restore) run(ctx context.Context) (Result, error) {
	begin := time.Now()
	// Prometheus' user owns the directory: nothing may follow a link out of it.
	dir, err := atomicfile.OpenDir(r.Dir)
	if err != nil {
		return Result{}, err
	}
	defer dir.Close()
	if r.State != "" {
		unlock, err := lockfile.Lock(ctx, r.State+".lock")
		if err != nil {
			return Result{}, err
		}
		defer unlock()
	}
	// From here on, the data directory may be older than the data to come.
	if err := dir.Remove(CollectingFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	run := restoring{r, dir}
	if err := run.discardForeign(restoredDir); err != nil {
		return Result{}, err
	}
	found, manifest, err := run.newest(ctx, begin.Add(searchTime))
	if err != nil {
		return Result{}, err
	}
	next := &state{Prepared: true, Files: map[string]sentFile{}}
	if found.Found {
		if next, err = run.assemble(manifest); err != nil {
			return Result{}, err
		}
	} else if err := run.makeDir(DataDir); err != nil {
		return Result{}, err
	}
	if r.State != "" {
		// Carry over the counts.
		before, err := loadState(r.State)
		if err != nil {
			return Result{}, err
		}
		next.Failures, next.LastSuccess, next.Lost = before.Failures, before.LastSuccess, before.Lost
		if err := next.save(r.State); err != nil {
			return Result{}, err
		}
	}
	found.Restored = time.Now().UTC().Truncate(time.Second)
	found.Seconds = time.Since(begin).Seconds()
	return found, found.write(filepath.Join(r.Dir, recordFile))
}

// restoring is one run of a restore, in its directory.
type restoring struct {
	Restore
	dir *os.Root
}

// discardForeign removes the file at name, unless it is a directory that this process' user owns: no other user
// can have put links or pipes into such a directory.
func (r restoring) discardForeign(name string) error {
	info, err := r.dir.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if info.IsDir() && ok && int(owner.Uid) == os.Geteuid() {
		return nil
	}
	r.Log.Error("earlier downloads belong to another user: downloading everything again", "directory", name)
	return r.dir.RemoveAll(name)
}

type backup struct {
	Manifest
	blocks []Block
}

// newest downloads the newest usable backup, and describes it. Because anyone with write access can write any
// number of manifests, it tries at most maxTried of them, and none after end.
func (r restoring) newest(ctx context.Context, end time.Time) (Result, backup, error) {
	// Manifests first, because their objects are older than they are.
	manifests, err := list(ctx, r.Store, manifestRoot)
	if err != nil {
		return Result{}, backup{}, unreadable(err)
	}
	epochs, err := list(ctx, r.Store, epochRoot)
	if err != nil {
		return Result{}, backup{}, unreadable(err)
	}
	switch {
	case len(manifests.Objects) == 0 && len(epochs.Objects) == 0:
		return Result{}, backup{}, nil
	case len(manifests.Objects) == 0:
		r.Log.Error("servers backed up a history, but all of its manifests are missing")
	case manifests.Cut:
		r.Log.Error("the bucket holds more manifests than a listing returns: the newest may be missed",
			"manifests", len(manifests.Objects))
	}
	all, err := list(ctx, r.Store, root)
	if err != nil {
		return Result{}, backup{}, unreadable(err)
	}
	sizes := sizesIn(all)
	if all.Cut {
		// Objects that are not in the listing are read one by one.
		r.Log.Error("the bucket holds more objects than a listing returns", "objects", len(all.Objects))
		sizes = nil
	}
	candidates := manifestsIn(manifests, highestEpoch(manifests, epochs))
	unusable := len(manifestsIn(manifests, math.MaxUint64)) - len(candidates)
	if unusable > 0 {
		r.Log.Error("backups of the history are in an epoch that no server can have claimed: skipping them",
			"backups", unusable)
	}
	var foreign []Manifest
	try := func(manifest Manifest, modified time.Time) (Result, backup, error) {
		fetched, bytes, err := r.fetch(ctx, manifest, sizes)
		if err != nil {
			return Result{}, backup{}, err
		}
		result := Result{
			Found: true, Stack: manifest.Stack, Server: manifest.Server, Epoch: manifest.Epoch, Sequence: manifest.Sequence,
			// The bucket's clock may round the two times differently.
			AgeSeconds: max(0, manifests.At.Sub(modified).Seconds()), Fetched: bytes, Blocks: len(fetched.blocks),
			Fallbacks: unusable,
		}
		for _, file := range fetched.files() {
			result.Bytes += file.Size
		}
		for _, block := range fetched.blocks {
			result.Bytes += block.bytes()
		}
		return result, fetched, nil
	}
	written := map[string]time.Time{}
	skip := func(epoch, sequence uint64, err error) bool {
		if !errors.Is(err, errUnusable) && !errors.Is(err, errNewer) {
			return false
		}
		unusable++
		r.Log.Error("a backup of the history is unusable: trying the one before", "epoch", epoch, "sequence", sequence,
			"error", err)
		return true
	}
	for i, candidate := range candidates {
		if i == maxTried || time.Now().After(end) {
			r.Log.Error("too many backups of the history are unusable: skipping the others", "tried", i,
				"others", len(candidates)-i)
			unusable += len(candidates) - i
			break
		}
		manifest, err := fetchManifest(ctx, r.Store, candidate.epoch, candidate.sequence)
		if err == nil && manifest.Stack != r.Stack {
			foreign = append(foreign, manifest)
			written[manifest.String()] = candidate.modified
			continue
		}
		var result Result
		var fetched backup
		if err != nil {
			err = unreadable(err)
		} else {
			result, fetched, err = try(manifest, candidate.modified)
		}
		if err == nil {
			if len(foreign) > 0 {
				r.Log.Error("backups of the history belong to another stack: skipping them", "backups", len(foreign),
					"stack", foreign[0].Stack)
				result.Fallbacks += len(foreign)
			}
			return result, fetched, nil
		}
		if !skip(candidate.epoch, candidate.sequence, err) {
			return Result{}, backup{}, err
		}
	}
	// The bucket belongs to this stack. Another name is a previous name of the stack, or was made up by a writer
	// who could have written this name as well.
	for _, manifest := range foreign {
		if time.Now().After(end) {
			unusable += len(foreign)
			break
		}
		result, fetched, err := try(manifest, written[manifest.String()])
		if err == nil {
			r.Log.Error("the newest usable backup of the history belongs to another stack: using it, since this stack has none",
				"stack", manifest.Stack, "server", manifest.Server)
			return result, fetched, nil
		}
		if !skip(manifest.Epoch, manifest.Sequence, err) {
			return Result{}, backup{}, err
		}
	}
	r.Log.Error("no backup of the history is usable: starting empty", "backups", max(unusable, 1))
	return Result{Fallbacks: max(unusable, 1)}, backup{}, r.dir.RemoveAll(restoredDir)
}

// fetch downloads the files that a manifest names and the restored directory lacks, and removes all
// others. It returns the number of downloaded bytes. An invalid backup is errUnusable.
func (r restoring) fetch(ctx context.Context, manifest Manifest, sizes map[string]int64) (backup, int64, error) {
	catalogue, err := fetchCatalogue(ctx, r.Store, manifest.Catalogue)
	if err != nil {
		return backup{}, 0, unreadable(err)
	}
	if sizes != nil {
		if key := missing(sizes, append(manifest.objects(), catalogue.objects()...)); key != "" {
			return backup{}, 0, fmt.Errorf("%s is %w: %s is missing, or has another size", manifest, errUnusable, key)
		}
	}
	manifest, err = manifest.with(catalogue)
	if err != nil {
		return backup{}, 0, err
	}
	if err := r.fits(manifest, catalogue.Blocks); err != nil {
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

// unreadable marks an error with errUnreadable, unless it shows that the backup is unusable.
func unreadable(err error) error {
	if errors.Is(err, errUnusable) || errors.Is(err, errNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnreadable, err)
}

// fits checks that a backup leaves a fifth of the disk's free space.
func (r restoring) fits(manifest Manifest, blocks []Block) error {
	var need int64
	add := func(size int64, name string) {
		if stat, err := r.dir.Stat(filepath.Join(restoredDir, name)); err != nil || stat.Size() != size {
			need += size
		}
	}
	for _, file := range manifest.files() {
		add(file.Size, file.Path)
		// The copy in the data directory.
		need += file.Size
	}
	for _, block := range blocks {
		for _, file := range block.Files {
			add(file.Size, filepath.Join(block.ULID, file.Path))
		}
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(r.Dir, &disk); err != nil {
		return fmt.Errorf("cannot measure the free space: %w", err)
	}
	if free := int64(disk.Bavail) * disk.Bsize; need > free/5*4 {
		return fmt.Errorf("%s is %w: it needs %d bytes of the disk, of which %d are free", manifest, errUnusable, need, free)
	}
	return nil
}

// prune removes files from the restored directory that the manifest does not name.
func (r restoring) prune(manifest Manifest, blocks []Block) error {
	keep := map[string]bool{}
	for _, file := range manifest.files() {
		for path := file.Path; path != "."; path = filepath.Dir(path) {
			keep[path] = true
		}
	}
	for _, block := range blocks {
		keep[block.ULID], keep[block.ULID+unfinished] = true, true
	}
	if err := r.dir.MkdirAll(filepath.Join(restoredDir, walDir), 0o755); err != nil {
		return err
	}
	for _, dir := range []string{".", walDir} {
		entries, err := fs.ReadDir(r.dir.FS(), filepath.Join(restoredDir, dir))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if name := filepath.Join(dir, entry.Name()); !keep[name] {
				if err := r.dir.RemoveAll(filepath.Join(restoredDir, name)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// block downloads a block. Its directory gets its final name once it is complete.
func (r restoring) block(ctx context.Context, block Block) (fetched int64, err error) {
	dir := filepath.Join(restoredDir, block.ULID)
	if r.complete(dir, block) {
		return 0, nil
	}
	if err := r.dir.RemoveAll(dir); err != nil {
		return 0, err
	}
	for _, file := range block.Files {
		local := filepath.Join(dir+unfinished, file.Path)
		if err := r.dir.MkdirAll(filepath.Dir(local), 0o755); err != nil {
			return fetched, err
		}
		more, err := r.download(ctx, local, file.Size, file.SHA256, []object{{block.key(file.Path), file.Size}})
		fetched += more
		if err != nil {
			return fetched, err
		}
	}
	return fetched, r.dir.Rename(dir+unfinished, dir)
}

// complete reports whether all files of a block exist.
func (r restoring) complete(dir string, block Block) bool {
	for _, file := range block.Files {
		if stat, err := r.dir.Stat(filepath.Join(dir, file.Path)); err != nil || stat.Size() != file.Size {
			return false
		}
	}
	return true
}

// file downloads the new part of a file of the write-ahead log.
func (r restoring) file(ctx context.Context, file File) (fetched int64, err error) {
	local := filepath.Join(restoredDir, file.Path)
	if err := r.dir.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return 0, err
	}
	return r.download(ctx, local, file.Size, file.SHA256, file.objects())
}

// download downloads the objects of a file, except for those at its beginning that exist already, and checks its
// size and SHA-256.
func (r restoring) download(
	ctx context.Context, local string, size int64, sum string, objects []object,
) (fetched int64, err error) {
	file, err := r.dir.OpenFile(local, os.O_CREATE|os.O_RDWR, 0o644)
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
			return fetched, fmt.Errorf("cannot read %s: %w", local, err)
		}
		if hex.EncodeToString(hasher.Sum(nil)) == sum {
			return fetched, file.Close()
		}
		if have == 0 {
			return fetched, fmt.Errorf("%s is %w: its SHA-256 does not match", filepath.Base(local), errUnusable)
		}
		// The existing file has other content: download all objects.
		have = 0
	}
}

// object downloads an object to its offset in a file, and retries if the transfer is cut off.
func (r restoring) object(ctx context.Context, file *os.File, object object, at int64) error {
	var last error
	for range fetchAttempts {
		if last = r.attempt(ctx, file, object, at); last == nil || !errors.Is(last, errCut) || ctx.Err() != nil {
			return last
		}
	}
	return last
}

// errCut marks a transfer that ended too early.
var errCut = errors.New("the transfer was cut off")

func (r restoring) attempt(ctx context.Context, file *os.File, object object, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout(object.size))
	defer cancel()
	got, err := r.Store.Get(ctx, object.key, "")
	if missingOrUnreadable(err) {
		return fmt.Errorf("%w: %w", errUnusable, err)
	}
	if err != nil {
		return unreadable(bucket.WithAdvice(err))
	}
	defer got.Body.Close()
	// One more byte than expected: the hash would not reveal that further bytes were cut off.
	read := &sourceReader{reader: io.LimitReader(got.Body, object.size+1)}
	written, err := io.Copy(io.NewOffsetWriter(file, at), read)
	switch {
	case read.err != nil:
		return unreadable(fmt.Errorf("get %s: %w: %w", object.key, errCut, read.err))
	case err != nil:
		return err
	case written != object.size:
		return fmt.Errorf("%s is %w: it does not have %d bytes", object.key, errUnusable, object.size)
	default:
		return nil
	}
}

// sourceReader is a reader that keeps its error, to distinguish it from an error of the disk.
type sourceReader struct {
	reader io.Reader
	err    error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	n, err := s.reader.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
