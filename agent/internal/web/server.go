package web

import (
	"fmt"
	"os"
)

// Server is the web server as `agent pull` uses it: it requests reloads, and the id of the release that is served.
type Server struct {
	*Client
	// ReloadRequest is the file that requests a reload. The unit that reloads, as root, removes it.
	ReloadRequest string
}

// Reload requests a reload of the configuration and does not wait for it. Several requests may be merged into one
// reload, which begins after the last of them.
func (s Server) Reload() error {
	if err := os.WriteFile(s.ReloadRequest, nil, 0o644); err != nil {
		return fmt.Errorf("cannot request a reload of the web server: %w", err)
	}
	return nil
}
