package awsplugin

import (
	"context"
	"fmt"
	"os"
	"sync"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/s3server"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
	"immutable-infra/localcloud/internal/state"
)

// version is that of the SDK that the plugin answers to.
const version = "6.83.4"

// Serve runs the plugin for the engine that started it, until the engine ends
// it. dir is localcloud's directory. Who calls is said by the environment, as
// the real provider has it: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
func Serve(ctx context.Context, dir string) error {
	given := store.Account{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}
	pl, err := open(dir, given)
	if err != nil {
		return err
	}
	return pl.provider().Run(ctx, "aws", version)
}

// open opens the plugin of a home for somebody who calls with an access key.
func open(dir string, given store.Account) (*plugin, error) {
	local, err := cloud.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the local cloud: %w", err)
	}
	// Once, so that all operations share the server's connections.
	openObjects := sync.OnceValues(func() (objects, error) {
		settings, err := local.S3()
		if err != nil {
			return objects{}, err
		}
		server, err := s3server.New(settings)
		if err != nil {
			return objects{}, err
		}
		return objects{objectStore: server, endpoint: settings.Endpoint}, nil
	})
	who := func() (_, root store.Account, err error) {
		settings, err := local.S3()
		return given, store.Account{AccessKeyID: settings.AccessKeyID, SecretAccessKey: settings.SecretAccessKey}, err
	}
	return newPlugin(state.Home(dir).AWSFile(), local, openObjects, who)
}
