package handover

import (
	"context"
	"errors"
)

// Joined is several Data as one, in their order. What fails of one does not keep the
// others from being brought to safety.
type Joined []Data

// Release implements Data.
func (j Joined) Release(ctx context.Context) error {
	return j.each(func(data Data) error { return data.Release(ctx) })
}

// Resume implements Data.
func (j Joined) Resume(ctx context.Context) error {
	return j.each(func(data Data) error { return data.Resume(ctx) })
}

// Restore implements Data.
func (j Joined) Restore(ctx context.Context) error {
	return j.each(func(data Data) error { return data.Restore(ctx) })
}

func (j Joined) each(do func(Data) error) error {
	var failed []error
	for _, data := range j {
		failed = append(failed, do(data))
	}
	return errors.Join(failed...)
}
