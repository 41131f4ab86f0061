package handover

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatFailsOfTheFirstDoesNotKeepTheSecondFromBeingHandedOver(t *testing.T) {
	first, second := &collected{}, &collected{}
	first.onRelease(func(context.Context) error { return errors.New("the certificates are half written") })
	joined := Joined{first, second}
	require.EqualError(t, joined.Release(t.Context()), "the certificates are half written")
	require.NoError(t, joined.Restore(t.Context()))
	require.NoError(t, joined.Resume(t.Context()))
	for _, data := range []*collected{first, second} {
		require.Equal(t, []string{"release", "restore", "resume"}, data.taken())
	}
}
