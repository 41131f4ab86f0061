package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"immutable-infra/server/atomicfile"
)

// recordFile is the name of the record of files that builds wrote to their source, in the work directory. All stacks
// share it, because they build the same source.
const recordFile = "written.json"

// written is a file of the source that a build wrote, with its content in the inventory before and after; "" if the
// file did not exist.
type written struct {
	Before string `json:"before"`
	After  string `json:"after"`
}

// record has the files that builds wrote, by path.
type record map[string]written

func (s Source) readRecord() (record, error) {
	text, err := os.ReadFile(s.record)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which files builds wrote: %w", err)
	}
	read := record{}
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, fmt.Errorf("cannot read which files builds wrote: %s: %w; delete the file", s.record, err)
	}
	if read == nil { // the text is null
		read = record{}
	}
	return read, nil
}

// original returns an inventory as it was before builds wrote to the source. Files that were changed or committed since
// then keep their present content.
func (s Source) original(found inventory, record record) inventory {
	var unchanged []string
	for path, file := range record {
		if found[path] == file.After {
			unchanged = append(unchanged, path)
		}
	}
	if len(unchanged) == 0 {
		return found
	}
	original := maps.Clone(found)
	committed := s.committed()
	for _, path := range unchanged {
		switch before := record[path].Before; {
		case committed[path]:
		case before == "":
			delete(original, path)
		default:
			original[path] = before
		}
	}
	return original
}

// committed returns the files whose present content is committed to git, so that a new clone has them as well.
// Without git, there are none.
func (s Source) committed() map[string]bool {
	git := func(args ...string) ([]string, error) {
		command := exec.Command("git", append([]string{"-C", s.dir}, args...)...)
		command.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0")
		output, err := command.Output()
		return strings.Split(string(output), "\x00"), err
	}
	tracked, err := git("ls-files", "-z")
	if err != nil {
		return nil
	}
	changed, err := git("diff", "-z", "--name-only", "--relative", "HEAD")
	if err != nil {
		return nil
	}
	committed := map[string]bool{}
	for _, path := range tracked {
		committed[path] = true
	}
	for _, path := range changed {
		committed[path] = false
	}
	return committed
}

// recordWritten compares the source before and after a build, records the files that the build wrote, and returns their
// paths. before is the inventory without the changes of earlier builds.
func (s Source) recordWritten(raw, before, after inventory, record record) ([]string, error) {
	paths := maps.Clone(raw)
	maps.Copy(paths, after)
	var wrote []string
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if raw[path] != after[path] {
			wrote = append(wrote, path)
			record[path] = written{Before: before[path], After: after[path]}
		}
	}
	if len(wrote) == 0 {
		return nil, nil
	}
	text, err := json.MarshalIndent(record, "", "  ")
	if err == nil {
		err = writeFile(s.record, append(text, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot record which files the build wrote: %w", err)
	}
	return wrote, nil
}

// writeFile replaces a file atomically.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	// The work directory may be a link, which atomicfile rejects.
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, filepath.Base(path)), content, 0o644)
}
