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
	// Out receives a line if the certificates changed or the backup is unusable.
	Out io.Writer
}

// Release uploads the certificates that the bucket lacks. Traefik continues to renew them, so that
// nothing is lost if the successor never takes over.
func (d Data) Release(ctx context.Context) error { return d.Backup.Run(ctx) }

// Resume has nothing to do.
func (d Data) Resume(context.Context) error { return nil }

// Restore downloads the certificates of the previous server. If they are new, it restarts Traefik.
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
	fmt.Fprintf(d.Out, "restored newer certificates: %s\n", result)
	return d.Restart(ctx)
}
