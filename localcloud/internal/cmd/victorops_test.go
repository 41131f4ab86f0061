package cmd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVictorOpsDoubleRequiresKey(t *testing.T) {
	t.Setenv("VICTOROPS_KEY", "")
	require.ErrorContains(t, Run(t.Context(), []string{"victorops"}), "VICTOROPS_KEY is empty")
}
