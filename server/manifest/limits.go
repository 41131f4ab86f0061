package manifest

// Limits bounds the size of a release, so that a server rejects a mistaken upload instead of filling its disk.
type Limits struct {
	// ManifestBytes is the maximum size of SHA256SUMS, in bytes.
	ManifestBytes int64
	// Files is the maximum number of files in a release.
	Files int
	// Bytes is the maximum total size of a release's files, in bytes.
	Bytes int64
}

// DefaultLimits returns limits with room for any personal website: 100,000 files with names of 90 bytes on average, 4
// GiB in total.
func DefaultLimits() Limits {
	return Limits{
		ManifestBytes: 16 << 20,
		Files:         100_000,
		Bytes:         4 << 30,
	}
}
