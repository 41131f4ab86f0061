package certificates

import (
	"context"
	"fmt"
	"io"
)

// Data implements handover.Data for the certificates.
type Data struct {
	Backup    Backup
	Restoring Restore
	// Restart makes Traefik reload acme.json.
	Restart func(ctx context.Context) error
	// Note receives the result; it may be nil.
	Note func(Result)
	// Out receives a line when the certificates changed.
	Out io.Writer
}

// Release brings to the bucket what is not there yet. Traefik continues renewing:
// should the successor not come, nothing was lost.
func (d Data) Release(ctx context.Context) error { return d.Backup.Run(ctx) }

// Resume has nothing to do.
func (d Data) Resume(context.Context) error { return nil }

// Restore brings what the previous server left. If that is something new,
// Traefik is restarted.
func (d Data) Restore(ctx context.Context) error {
	result, err := d.Restoring.Run(ctx)
	if err != nil {
		return err
	}
	if d.Note != nil {
		d.Note(result)
	}
	if result.Unusable != "" {
		fmt.Fprintln(d.Out, result)
	}
	if !result.Changed {
		return nil
	}
	fmt.Fprintf(d.Out, "restored other certificates than before: %s\n", result)
	return d.Restart(ctx)
}
