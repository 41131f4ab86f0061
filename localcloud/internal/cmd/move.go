package cmd

import (
	"context"
	"flag"
	"fmt"

	"immutable-infra/localcloud/internal/cloud"
)

// moveVerb changes the given settings for how an Elastic IP moves, if any, and prints all settings as flags.
func moveVerb(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("move", flag.ContinueOnError)
	var text cloud.MoveText
	flags.StringVar(&text.Window, "window", "",
		"how long new packets do not reach the new instance: a duration such as 6s")
	flags.StringVar(&text.Arrive, "arrive", "", "where new packets arrive meanwhile: old (the old instance) or nothing")
	flags.StringVar(&text.Connections, "connections", "",
		"how long established connections continue at the old instance: none, a duration, or end (until it ends)")
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
