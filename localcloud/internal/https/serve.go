// Package https serves handlers in localcloud's service containers.
package https

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 2 * time.Second
)

// Serve serves the handler with TLS until the context ends.
func Serve(ctx context.Context, handler http.Handler, listener net.Listener, certificateFile, keyFile string) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout}
	stopped := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			server.Close()
		}
	})
	defer stopped()
	if err := server.ServeTLS(listener, certificateFile, keyFile); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
