package cmd

import (
	"fmt"
	"time"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/engine"
	"immutable-infra/localcloud/internal/home"
	"immutable-infra/localcloud/internal/run"
)

// stackName is the stack that localcloud deploys.
const stackName = "local"

// interruptGrace is how long an interrupted deployment may take to end its
// current step.
const interruptGrace = 2 * time.Minute

// project is what every verb works with.
type project struct {
	root   string
	home   home.Home
	runner run.Runner
	local  *cloud.Local
	engine *engine.Engine
}

// openProject finds the project around the working directory.
func openProject() (*project, error) {
	root, err := home.FindRoot(".")
	if err != nil {
		return nil, err
	}
	h, err := home.Find(root)
	if err != nil {
		return nil, err
	}
	local, err := cloud.Open(h.String())
	if err != nil {
		return nil, fmt.Errorf("open project: %w", err)
	}
	runner := run.Exec{Grace: interruptGrace}
	return &project{root: root, home: h, runner: runner, local: local, engine: engine.New(h, runner)}, nil
}
