package handover

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFailureOfFirstDataDoesNotBlockTheSecond(t *testing.T) {
	first, second := &collected{}, &collected{}
	first.onRelease(func(context.Context) error { return errors.New("the certificates are half written") })
	multi := Multi{first, second}
	require.EqualError(t, multi.Release(t.Context()), "the certificates are half written")
	require.NoError(t, multi.Restore(t.Context()))
	require.NoError(t, multi.Resume(t.Context()))
	for _, data := range []*collected{first, second} {
		require.Equal(t, []string{"release", "restore", "resume"}, data.taken())
	}
}
