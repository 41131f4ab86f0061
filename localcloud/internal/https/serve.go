// Package https serves handlers in localcloud's service containers. Request bodies are limited to 1 MiB.
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
	maxBodySize     = 1 << 20 // bytes
)

// Serve serves the handler with TLS until ctx is done.
func Serve(ctx context.Context, handler http.Handler, listener net.Listener, certificateFile, keyFile string) error {
	return serve(ctx, handler, func(server *http.Server) error {
		return server.ServeTLS(listener, certificateFile, keyFile)
	})
}

// ServePlain serves the handler without TLS until ctx is done.
func ServePlain(ctx context.Context, handler http.Handler, listener net.Listener) error {
	return serve(ctx, handler, func(server *http.Server) error { return server.Serve(listener) })
}

func serve(ctx context.Context, handler http.Handler, start func(*http.Server) error) error {
	server := &http.Server{Handler: http.MaxBytesHandler(handler, maxBodySize), ReadHeaderTimeout: headerTimeout}
	stop := context.AfterFunc(ctx, func() {
		shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(shutdownCtx); err != nil {
			server.Close()
		}
	})
	defer stop()
	if err := start(server); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Answer responds to a request with JSON.
func Answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only if the client has disconnected
}
