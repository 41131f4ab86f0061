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
	// restoredDir is what was fetched, of which the other is made.
	restoredDir = "restored"
	// CollectingFile is there while Prometheus may collect.
	CollectingFile = "collecting"
	recordFile     = "restored.json"

	// unfinished ends the name of a directory that is not complete yet.
	unfinished = ".tmp"
	// fetches is how often a transfer that is cut off is begun.
	fetches = 3

	// maxTried is how many manifests are tried, more than the garbage collection leaves, and searchTime for how
	// long another one is begun with.
	maxTried   = 300
	searchTime = 3 * time.Minute
)

// errUnreadable is the error of a backup that may be there.
var errUnreadable = errors.New("the backup is unreadable; refusing to treat it as missing")

// Restore brings the history from the bucket, where another server left it.
// Prometheus must not run meanwhile.
type Restore struct {
	Store *bucket.Bucket
	// Stack is the one that this server belongs to.
	Stack string
	// Dir has Prometheus' data directory in it, and belongs to Prometheus' user.
	Dir string
	// State is the path of the state file of Backup, which continues from here; "" is
	// none.
	State string
	Log   *slog.Logger
}

// Run brings what the newest manifest names that is of use, of this stack if there is one, or else
// of the name that the stack had before. The servers before this one may have written anything to
// the bucket: what is unusable is passed over and logged, and if nothing is of use, Prometheus
// begins with nothing, as on a stack's first server, which Result.Lost tells. A bucket that does
// not answer is an error, since what it holds may be of use. What was fetched before an error is
// not fetched again.
func (r Restore) Run(ctx context.Context) (Result, error) {
	result, err := r.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("cannot restore the history: %w", err)
	}
	return result, nil
}

func (r Restore) run(ctx context.Context) (Result, error) {
	begin := time.Now()
	// Prometheus' user owns the directory: all that follows stays in it, whatever links are there.
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
	// From here on what is in the data directory may be older than what comes.
	if err := dir.Remove(CollectingFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Result{}, err
	}
	run := restoring{r, dir}
	if err := run.own(restoredDir); err != nil {
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
		// The counts continue.
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

// own removes what is there by this name, unless it is a directory of this process' user: no other
// user can have put links or pipes into that.
func (r restoring) own(name string) error {
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
	r.Log.Error("the files fetched before belong to another user: fetching all of them again", "directory", name)
	return r.dir.RemoveAll(name)
}

type backup struct {
	Manifest
	blocks []Block
}

// newest fetches what the newest manifest of use names, and tells what it was. Whoever may write
// objects can write any number of manifests: only so many are tried, and none after end.
func (r restoring) newest(ctx context.Context, end time.Time) (Result, backup, error) {
	// The manifests first: whatever they name was there before.
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
		r.Log.Error("servers backed up a history, but all of its manifests are gone")
	case manifests.Cut:
		r.Log.Error("the bucket holds more manifests than a listing takes: the newest may be missed",
			"manifests", len(manifests.Objects))
	}
	all, err := list(ctx, r.Store, root)
	if err != nil {
		return Result{}, backup{}, unreadable(err)
	}
	sizes := sizesIn(all)
	if all.Cut {
		// Each object tells when it is fetched.
		r.Log.Error("the bucket holds more objects than a listing takes", "objects", len(all.Objects))
		sizes = nil
	}
	candidates := manifestsIn(manifests, highestOf(manifests, epochs))
	useless := len(manifestsIn(manifests, math.MaxUint64)) - len(candidates)
	if useless > 0 {
		r.Log.Error("backups of the history are in an epoch that no server can have claimed: skipping them",
			"backups", useless)
	}
	var foreign []Manifest
	try := func(manifest Manifest, modified time.Time) (Result, backup, error) {
		fetched, bytes, err := r.fetch(ctx, manifest, sizes)
		if err != nil {
			return Result{}, backup{}, err
		}
		result := Result{
			Found: true, Stack: manifest.Stack, Server: manifest.Server, Epoch: manifest.Epoch, Sequence: manifest.Sequence,
			// The bucket's clock may tell the two to different seconds.
			AgeSeconds: max(0, manifests.At.Sub(modified).Seconds()), Fetched: bytes, Blocks: len(fetched.blocks),
			Fallbacks: useless,
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
	passOver := func(epoch, sequence uint64, err error) bool {
		if !errors.Is(err, errUnusable) && !errors.Is(err, errNewer) {
			return false
		}
		useless++
		r.Log.Error("a backup of the history is unusable: trying the one before", "epoch", epoch, "sequence", sequence,
			"error", err)
		return true
	}
	for i, candidate := range candidates {
		if i == maxTried || time.Now().After(end) {
			r.Log.Error("too many backups of the history are unusable: skipping the others", "tried", i,
				"others", len(candidates)-i)
			useless += len(candidates) - i
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
				r.Log.Error("backups of the history are those of another stack: skipping them", "backups", len(foreign),
					"stack", foreign[0].Stack)
				result.Fallbacks += len(foreign)
			}
			return result, fetched, nil
		}
		if !passOver(candidate.epoch, candidate.sequence, err) {
			return Result{}, backup{}, err
		}
	}
	// The bucket is this stack's alone. Another name is the one that it had before, or was made
	// up by somebody who could have written this one as well.
	for _, manifest := range foreign {
		if time.Now().After(end) {
			useless += len(foreign)
			break
		}
		result, fetched, err := try(manifest, written[manifest.String()])
		if err == nil {
			r.Log.Error("the newest usable backup of the history is that of another stack: using it, since this stack has none",
				"stack", manifest.Stack, "server", manifest.Server)
			return result, fetched, nil
		}
		if !passOver(manifest.Epoch, manifest.Sequence, err) {
			return Result{}, backup{}, err
		}
	}
	r.Log.Error("no backup of the history is usable: starting empty", "backups", max(useless, 1))
	return Result{Fallbacks: max(useless, 1)}, backup{}, r.dir.RemoveAll(restoredDir)
}

// fetch brings to the restored directory what a manifest names and it has not, and
// removes what it does not name. It tells how many bytes came. A backup that is not as
// it should be is errUnusable.
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

// unreadable says of an error of the bucket that it tells nothing about what is there.
func unreadable(err error) error {
	if errors.Is(err, errUnusable) || errors.Is(err, errNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnreadable, err)
}

// fits makes sure that a backup leaves a fifth of what is free on the disk now.
func (r restoring) fits(manifest Manifest, blocks []Block) error {
	var need int64
	add := func(size int64, name string) {
		if stat, err := r.dir.Stat(filepath.Join(restoredDir, name)); err != nil || stat.Size() != size {
			need += size
		}
	}
	for _, file := range manifest.files() {
		add(file.Size, file.Path)
		// The copy.
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

// prune removes from the restored directory what is not named.
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

// block fetches a block, whose directory gets its name when all of it is there.
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
		more, err := r.whole(ctx, local, file.Size, file.SHA256, []object{{block.key(file.Path), file.Size}})
		fetched += more
		if err != nil {
			return fetched, err
		}
	}
	return fetched, r.dir.Rename(dir+unfinished, dir)
}

// complete reports whether all files of a block are there.
func (r restoring) complete(dir string, block Block) bool {
	for _, file := range block.Files {
		if stat, err := r.dir.Stat(filepath.Join(dir, file.Path)); err != nil || stat.Size() != file.Size {
			return false
		}
	}
	return true
}

// file fetches what is new of a file of the write-ahead log.
func (r restoring) file(ctx context.Context, file File) (fetched int64, err error) {
	local := filepath.Join(restoredDir, file.Path)
	if err := r.dir.MkdirAll(filepath.Dir(local), 0o755); err != nil {
		return 0, err
	}
	return r.whole(ctx, local, file.Size, file.SHA256, file.objects())
}

// whole fetches the objects that a file consists of, but for those at its beginning that
// are there already, so that it has this size and SHA-256 in the end.
func (r restoring) whole(
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
			return fetched, fmt.Errorf("%s is %w: its SHA-256 is another one", filepath.Base(local), errUnusable)
		}
		// What was there was another file of this name.
		have = 0
	}
}

// object fetches an object to its place in a file.
func (r restoring) object(ctx context.Context, file *os.File, object object, at int64) error {
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

func (r restoring) attempt(ctx context.Context, file *os.File, object object, at int64) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout(object.size))
	defer cancel()
	got, err := r.Store.Get(ctx, object.key, "")
	if lacking(err) {
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
