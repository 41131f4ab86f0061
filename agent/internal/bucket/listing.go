package bucket

import "time"

// Listing is what a bucket holds, in the order of the keys' bytes.
type Listing struct {
	Objects []Entry
	// Cut is whether there are more objects than a listing takes.
	Cut bool
	// At is when it was so, by the bucket's clock; zero if it did not tell.
	At time.Time
}

// Entry is an object in a listing.
type Entry struct {
	Key string
	// Size is in bytes.
	Size int64
	// Modified is when the object was written, by the bucket's clock.
	Modified time.Time
}
