package e2e

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBakeKeepsTheOldServerWhenTheUpdateContinues makes a bake fail in an update that continues on errors.
func TestBakeKeepsTheOldServerWhenTheUpdateContinues(t *testing.T) {
	if os.Getenv("E2E") != "bake" {
		t.Skip("needs a local cloud that is up and takes five minutes: make test-bake")
	}
	p := root(t)
	p.loadEnv(t)
	p.startClean(t)
	// Pulumi keeps the resources that the last bake depends on.
	p.converges(t)
	before := p.outputs(t)

	broken := p.copy(t)
	broken.set(t, "bakeTime", killBakeTime)
	breakInBake(t, broken, firstGeneration, noWeb(), "--continue-on-error")
	p.converges(t)
	require.NotEqual(t, before.ServerID, p.outputs(t).ServerID)
}
