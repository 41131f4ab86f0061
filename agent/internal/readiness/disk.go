package readiness

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// diskBytesNeeded is the space that must be left: a full disk takes neither a
	// release nor a log.
	diskBytesNeeded = 64 << 20
	// diskFilesNeeded is the number of files for which there must be room.
	diskFilesNeeded = 1000
)

// Disk is the check that there is room on the disks that a server writes to.
type Disk struct {
	// Paths name the file systems by a file or directory on each.
	Paths []string
	// Statfs asks the kernel: unix.Statfs.
	Statfs func(path string, answer *unix.Statfs_t) error
}

func (d Disk) Name() string { return "disk" }

func (d Disk) Check(context.Context) Result {
	var found parts
	for _, path := range d.Paths {
		var disk unix.Statfs_t
		if err := d.Statfs(path, &disk); err != nil {
			found.fail(fmt.Sprintf("%s: %s", path, err))
			continue
		}
		// What is left to programs that are not root's.
		bytes := disk.Bavail * uint64(disk.Bsize)
		state := fmt.Sprintf("%s: %d MiB free, %d MiB needed", path, bytes>>20, diskBytesNeeded>>20)
		// A file system that makes room for its inodes when it needs them has
		// none in all.
		full := disk.Files > 0 && disk.Ffree < diskFilesNeeded
		if full {
			state = fmt.Sprintf("%s: room for %d more files, %d needed", path, disk.Ffree, diskFilesNeeded)
		}
		if full || bytes < diskBytesNeeded {
			found.fail(state)
			continue
		}
		found.pass(state)
	}
	return found.result()
}
