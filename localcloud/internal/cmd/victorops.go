package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/https"
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
	listener, err := net.Listen("tcp", ":443")
	if err != nil {
		return fmt.Errorf("victorops: %w", err)
	}
	if err := https.Serve(ctx, victorops.New(apiKey), listener, *certificate, *key); err != nil {
		return fmt.Errorf("victorops: %w", err)
	}
	return nil
}
