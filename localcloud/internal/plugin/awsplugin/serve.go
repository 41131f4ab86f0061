package awsplugin

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/s3server"
)

// version is that of the SDK that the plugin answers to.
const version = "6.83.2"

// Serve runs the plugin for the engine that started it, until the engine ends
// it. home is localcloud's directory.
func Serve(ctx context.Context, home string) error {
	local, err := cloud.Open(home)
	if err != nil {
		return fmt.Errorf("open the local cloud: %w", err)
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
	pl, err := newPlugin(filepath.Join(home, "cloud", "aws.json"), local, openObjects)
	if err != nil {
		return err
	}
	return pl.provider().Run(ctx, "aws", version)
}
