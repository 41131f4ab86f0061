package handover

import (
	"context"
	"errors"
)

// Multi combines several Data, in order. A failure of one does not prevent the calls of the others.
type Multi []Data

func (m Multi) Release(ctx context.Context) error {
	return m.each(func(data Data) error { return data.Release(ctx) })
}

func (m Multi) Resume(ctx context.Context) error {
	return m.each(func(data Data) error { return data.Resume(ctx) })
}

func (m Multi) Restore(ctx context.Context) error {
	return m.each(func(data Data) error { return data.Restore(ctx) })
}

func (m Multi) each(do func(Data) error) error {
	var failed []error
	for _, data := range m {
		failed = append(failed, do(data))
	}
	return errors.Join(failed...)
}
