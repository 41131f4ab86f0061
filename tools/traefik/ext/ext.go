// Package ext stands in for a module inside Traefik's repository that Traefik's go.mod replaces by its path there:
// the extensions of routers, of which there are none. A module that requires Traefik needs one of its own.
package ext

// HTTP extends the dynamic configuration of HTTP.
type HTTP struct{}

// Router extends that of a router.
type Router struct{}
