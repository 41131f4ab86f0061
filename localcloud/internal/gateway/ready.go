package gateway

import (
	"context"
	"fmt"
	"net"

	"immutable-infra/localcloud/internal/cloud"
)

// Ready says whether the gateway in whose network namespace it runs serves:
// its DNS server and its metadata service accept connections.
func Ready(ctx context.Context) error {
	config, err := files{dir: cloud.GatewayDir}.config()
	if err != nil {
		return err
	}
	var dialer net.Dialer
	for _, address := range []string{
		net.JoinHostPort(config.VPC.Resolver().String(), "53"),
		net.JoinHostPort(metadataAddress, "80"),
	} {
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("gateway is not ready: %w", err)
		}
		connection.Close()
	}
	return nil
}
