package handover

import "context"

// Data is what a server collects and its successor goes on with. Each method may
// be called again after it failed or was cut short, and after it succeeded.
type Data interface {
	// Release ends the collecting and brings to the bucket what is not there yet.
	Release(ctx context.Context) error
	// Resume begins to collect, where no other server does: none was before this one,
	// or its successor did not come.
	Resume(ctx context.Context) error
	// Restore brings here what the server before this one left in the bucket, and
	// begins to collect.
	Restore(ctx context.Context) error
}
