package cmd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWSAPIDoubleRequiresRootKey(t *testing.T) {
	t.Setenv("ROOT_ACCESS_KEY", "")
	require.ErrorContains(t, Run(t.Context(), []string{"awsapi"}), "is empty")
}
