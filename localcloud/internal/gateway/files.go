package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/home"
)

// files reads what the cloud package wrote for a gateway.
type files struct {
	dir string
}

func (f files) config() (cloud.GatewayConfig, error) {
	var config cloud.GatewayConfig
	if err := home.ReadJSON(filepath.Join(f.dir, cloud.GatewayConfigFile), &config); err != nil {
		return config, fmt.Errorf("gateway configuration: %w", err)
	}
	return config, nil
}

// state is empty until the first ApplyGateway.
func (f files) state() (cloud.GatewayState, error) {
	var state cloud.GatewayState
	err := home.ReadJSON(filepath.Join(f.dir, cloud.GatewayStateFile), &state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return state, fmt.Errorf("gateway state: %w", err)
	}
	return state, nil
}

// lookup finds the interface with a private address.
func (f files) lookup(private netip.Addr) (cloud.NetworkInterface, bool, error) {
	state, err := f.state()
	if err != nil {
		return cloud.NetworkInterface{}, false, err
	}
	for _, eni := range state.Interfaces {
		if eni.PrivateIP == private {
			return eni, true, nil
		}
	}
	return cloud.NetworkInterface{}, false, nil
}
