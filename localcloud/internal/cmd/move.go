package cmd

import (
	"context"
	"flag"
	"fmt"

	"immutable-infra/localcloud/internal/cloud"
)

// moveVerb shows the settings of the move of an Elastic IP, after it changed those that are given: it prints the flags
// that set them all.
func moveVerb(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("move", flag.ContinueOnError)
	var text cloud.MoveText
	flags.StringVar(&text.Window, "window", "",
		"for how long fresh packets do not reach the new instance: a duration such as 6s")
	flags.StringVar(&text.Arrive, "arrive", "", "where they arrive then: old (the old instance) or nothing")
	flags.StringVar(&text.Connections, "connections", "",
		"for how long established connections live on at the old instance: none, a duration, or end (until it ends)")
	p, err := openProject(flags, args)
	if err != nil {
		return err
	}
	var move cloud.Move
	if text == (cloud.MoveText{}) {
		move, err = p.local.Move()
	} else {
		move, err = p.local.SetMove(text)
	}
	if err != nil {
		return fmt.Errorf("move: %w", err)
	}
	set := move.Text()
	_, err = fmt.Printf("-window %s -arrive %s -connections %s\n", set.Window, set.Arrive, set.Connections)
	return err
}
