package cmd

import (
	"context"
	"errors"
	"flag"
	"os"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/victorops"
)

// victorOpsVerb is what runs in the container of the VictorOps double.
func victorOpsVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("victorops", flag.ContinueOnError)
	certificate := flags.String("certificate", "", "certificate file, PEM")
	key := flags.String("key", "", "key file, PEM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	apiKey := os.Getenv(cloud.VictorOpsKeyVariable)
	if apiKey == "" {
		return errors.New("victorops: " + cloud.VictorOpsKeyVariable + " is empty: set it to the API key of the account")
	}
	return serve(ctx, "victorops", victorops.New(apiKey), *certificate, *key)
}
