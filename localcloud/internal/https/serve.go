// Package https serves handlers in localcloud's service containers. A request's body is limited to 1 MiB.
package https

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"
)

const (
	headerTimeout   = 10 * time.Second
	shutdownTimeout = 2 * time.Second
	largestBody     = 1 << 20 // bytes
)

// Serve serves the handler with TLS until the context ends.
func Serve(ctx context.Context, handler http.Handler, listener net.Listener, certificateFile, keyFile string) error {
	return serve(ctx, handler, func(server *http.Server) error {
		return server.ServeTLS(listener, certificateFile, keyFile)
	})
}

// ServePlain serves the handler without TLS until the context ends.
func ServePlain(ctx context.Context, handler http.Handler, listener net.Listener) error {
	return serve(ctx, handler, func(server *http.Server) error { return server.Serve(listener) })
}

func serve(ctx context.Context, handler http.Handler, start func(*http.Server) error) error {
	server := &http.Server{Handler: http.MaxBytesHandler(handler, largestBody), ReadHeaderTimeout: headerTimeout}
	stopped := context.AfterFunc(ctx, func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			server.Close()
		}
	})
	defer stopped()
	if err := start(server); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Answer answers a request with JSON.
func Answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an error is that of a caller who is gone
}
