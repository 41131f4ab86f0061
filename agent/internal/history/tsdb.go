package history

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

type tsdb struct{ dir string }

// log lists the files of the write-ahead log and of its newest complete checkpoint, by their paths
// below the directory: the checkpoint first, then the segments in order. It omits incomplete files.
func (t tsdb) log() (checkpointFiles, segments []string, err error) {
	entries, err := os.ReadDir(filepath.Join(t.dir, walDir))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list Prometheus' write-ahead log: %w", err)
	}
	newest, newestIndex := "", uint64(0)
	for _, entry := range entries {
		if _, ok := number(entry.Name()); ok && entry.Type().IsRegular() {
			segments = append(segments, path.Join(walDir, entry.Name()))
		}
		if index, ok := checkpointOf(entry.Name()); ok && entry.IsDir() && (newest == "" || index > newestIndex) {
			newest, newestIndex = path.Join(walDir, entry.Name()), index
		}
	}
	byNumber(segments)
	if newest == "" {
		return nil, segments, nil
	}
	entries, err = os.ReadDir(filepath.Join(t.dir, newest))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot list Prometheus' write-ahead log: %w", err)
	}
	for _, entry := range entries {
		if file := path.Join(newest, entry.Name()); checkpointFile(file) {
			checkpointFiles = append(checkpointFiles, file)
		}
	}
	return checkpointFiles, segments, nil
}

func byNumber(segments []string) {
	slices.SortFunc(segments, func(a, b string) int {
		first, _ := segmentOf(a)
		second, _ := segmentOf(b)
		return cmp.Compare(first, second)
	})
}

// blocks lists the complete blocks by ULID, in order.
func (t tsdb) blocks() ([]string, error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list Prometheus' blocks: %w", err)
	}
	var blocks []string
	for _, entry := range entries {
		if !isULID(entry.Name()) || !entry.IsDir() {
			continue
		}
		switch _, err := os.Lstat(filepath.Join(t.dir, entry.Name(), metaName)); {
		case err == nil:
			blocks = append(blocks, entry.Name())
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("cannot list Prometheus' blocks: %w", err)
		}
	}
	return blocks, nil
}

// files lists the files of a block by their paths below its directory, meta.json last.
func (t tsdb) files(ulid string) ([]string, error) {
	dir := filepath.Join(t.dir, ulid)
	var files []string
	err := filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if entry.Type().IsRegular() && blockFile(below) && below != metaName {
			files = append(files, below)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list block %s: %w", ulid, err)
	}
	return append(files, metaName), nil
}
