package history

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Data implements handover.Data for the history.
type Data struct {
	Backup      Backup
	Restoring   Restore
	Stop, Start func(ctx context.Context) error
	// Collect lets Prometheus collect from its next start on.
	Collect func() error
	// Note receives the result; it may be nil.
	Note func(Result)
	// Out gets a line about what was restored.
	Out io.Writer
}

// Release stops Prometheus, which writes all that it has, and brings the rest to the
// bucket.
func (d Data) Release(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	_, err := d.Backup.Last(ctx)
	return err
}

// Resume has Prometheus collect. It may run already, and waits then.
func (d Data) Resume(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	return d.collect(ctx)
}

func (d Data) collect(ctx context.Context) error {
	if err := d.Collect(); err != nil {
		return err
	}
	return d.Start(ctx)
}

// Restore brings what the previous server left, and has Prometheus continue with
// it. If that fails, Prometheus runs as before, and collects nothing.
func (d Data) Restore(ctx context.Context) error {
	if err := d.Stop(ctx); err != nil {
		return err
	}
	result, err := d.Restoring.Run(ctx)
	if err != nil {
		return errors.Join(err, d.Start(ctx))
	}
	fmt.Fprintf(d.Out, "restored: %s\n", result)
	if d.Note != nil {
		d.Note(result)
	}
	return d.collect(ctx)
}
