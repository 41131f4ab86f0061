#!/bin/sh
# Behaves like the upstream image's entry point: options and Traefik's own commands are passed to traefik, anything else
# is run as a program.
set -eu
case "${1:-}" in
'' | -* | healthcheck | version) set -- traefik "$@" ;;
esac
exec "$@"
