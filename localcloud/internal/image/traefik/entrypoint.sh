#!/bin/sh
# Starts the image as upstream's does: options and Traefik's own commands are for
# traefik, everything else is a program.
set -eu
case "${1:-}" in
'' | -* | healthcheck | version) set -- traefik "$@" ;;
esac
exec "$@"
