package manifest

// Limits bound the cost of a release to this server, so that a mistaken upload is rejected instead
// of filling the disk.
type Limits struct {
	// ManifestBytes is the largest SHA256SUMS that is read, in bytes.
	ManifestBytes int64
	// Files is the largest number of files in a release.
	Files int
	// Bytes is the largest sum of the sizes of a release's files, in bytes.
	Bytes int64
}

// DefaultLimits leave room for any one person's website: 100,000 files with
// names of 90 bytes on average, 4 GiB in all.
func DefaultLimits() Limits {
	return Limits{
		ManifestBytes: 16 << 20,
		Files:         100_000,
		Bytes:         4 << 30,
	}
}
