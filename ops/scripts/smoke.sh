#!/usr/bin/env bash
# Probes a stack's site from this machine, as its last update did: by its name, at the VIP, until the
# server and the release in the stack's outputs answer.
#
# Usage: smoke.sh STACK
#
# Environment: WITHIN, the time limit in seconds (default: 60), SMOKE_PORT (default: 443).
set -euo pipefail

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

stack=${1:-}
[ -n "$stack" ] || fail "no stack given; run: make smoke STACK=production"
within=${WITHIN:-60}
[[ $within =~ ^[0-9]+$ ]] || fail "WITHIN is \"$within\": give seconds, such as 60"
cd "$(dirname "$0")/../.."

outputs=$(pulumi stack output --json --non-interactive --stack "$stack") ||
  fail "cannot read the outputs of stack $stack; log in to its backend (pulumi login)"
output() {
  jq --exit-status --raw-output --arg name "$1" '.[$name] | select(. != null and . != "")' <<<"$outputs" ||
    fail "cannot probe: stack $stack has no output $1; deploy it first: pulumi up --stack $stack"
}
url=$(output url)
ADDRESS=$(output vip)
SERVER=$(output serverId)
RELEASE=$(output release)
NAME=${url#https://}
NAME=${NAME%/}
# The configured value, or the default of Pulumi.yaml.
config=$(pulumi config --json --non-interactive --stack "$stack") ||
  fail "cannot read the configuration of stack $stack"
ROOTS=$(jq --raw-output '."immutable-infra:acmeCA".value // ""' <<<"$config")
export NAME ADDRESS SERVER RELEASE ROOTS PORT=${SMOKE_PORT:-443} CERTIFICATE=valid WITHIN=$within
exec env CGO_ENABLED=0 go run -trimpath -buildvcs=false ./probe/cmd
