package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"immutable-infra/localcloud/internal/awsapi"
	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// awsAPIVerb is what runs in the container of the double of KMS and STS.
func awsAPIVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("awsapi", flag.ContinueOnError)
	certificate := flags.String("certificate", "", "certificate file, PEM")
	key := flags.String("key", "", "key file, PEM")
	state := flags.String("state", "", "file that keeps what the control plane knows, JSON")
	keys := flags.String("keys", "", "file that keeps the keys of KMS, JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	root := store.Account{AccessKeyID: os.Getenv(cloud.RootKeyVariable), SecretAccessKey: os.Getenv(cloud.RootSecretVariable)}
	if root.AccessKeyID == "" || root.SecretAccessKey == "" {
		return errors.New("awsapi: " + cloud.RootKeyVariable + " or " + cloud.RootSecretVariable + " is empty: set them to the administrator's access key")
	}
	server, err := awsapi.New(awsapi.Settings{
		Region: cloud.Region, Root: root, State: store.Open(*state).Read, KeyFile: *keys, Now: time.Now,
	})
	if err != nil {
		return fmt.Errorf("awsapi: %w", err)
	}
	return serve(ctx, "awsapi", server, *certificate, *key)
}
