package readiness

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// diskBytesNeeded is how many bytes must be free: a full disk has no room for a release or a log.
	diskBytesNeeded = 64 << 20
	// diskFilesNeeded is the number of files that must fit.
	diskFilesNeeded = 1000
)

// Disk checks the free space of the disks that a server writes to.
type Disk struct {
	// Paths contains a file or directory on each of the file systems.
	Paths []string
	// Statfs queries the kernel: unix.Statfs.
	Statfs func(path string, stat *unix.Statfs_t) error
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
		// Only the space that is available to programs that do not run as root.
		bytes := disk.Bavail * uint64(disk.Bsize)
		state := fmt.Sprintf("%s: %d MiB free, %d MiB needed", path, bytes>>20, diskBytesNeeded>>20)
		// A file system that creates inodes on demand reports none in total.
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
