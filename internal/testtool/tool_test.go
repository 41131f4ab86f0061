package testtool

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

func TestWrittenProgramStartsWhileOthersAreWritten(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 50 {
				path := filepath.Join(dir, strconv.Itoa(i)+"-"+strconv.Itoa(j))
				WriteProgram(t, path, "#!/bin/sh\n")
				if err := exec.CommandContext(t.Context(), path).Run(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}
