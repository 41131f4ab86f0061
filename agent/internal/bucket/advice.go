package bucket

import (
	"errors"
	"fmt"
)

// WithAdvice adds to an error of the backup bucket where to look, as far as one
// can tell.
func WithAdvice(err error) error {
	if errors.Is(err, ErrDenied) {
		return fmt.Errorf("%w: check what this server's role may do in the backup bucket", err)
	}
	return err
}
