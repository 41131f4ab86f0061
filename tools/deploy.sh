#!/usr/bin/env bash
# Updates a stack, probes its site from outside, and makes sure that nothing is left
# to be done: what the workflow does with test, and then with production. It stops at
# the first of them that fails. A checkout without its submodules or files in Git LFS
# is refused.
#
# Usage: deploy.sh STACK [OPTION...]; OPTIONS are those of `pulumi up`. On a terminal
# Pulumi shows what it would do, and asks, unless --yes is among them.
set -euo pipefail

stack=${1:-}
if [ -z "$stack" ]; then
  echo "which stack? Write: make deploy STACK=test" >&2
  exit 1
fi
shift
cd "$(dirname "$0")/.."
. tools/checkout.sh
require_whole_checkout

# What is done, and how long it took.
step() {
  local what=$1 began=$SECONDS
  shift
  printf '%s: %s\n' "$stack" "$what"
  if ! "$@"; then
    printf '%s: %s: failed after %d s\n' "$stack" "$what" $((SECONDS - began)) >&2
    return 1
  fi
  printf '%s: %s: done in %d s\n' "$stack" "$what" $((SECONDS - began))
}

# Says what is left, and nothing when nothing is.
nothing_left() {
  local text
  if ! text=$(pulumi preview --stack "$stack" --expect-no-changes --non-interactive --diff --suppress-progress 2>&1); then
    printf '%s\n' "$text" >&2
    return 1
  fi
}

options=(--stack "$stack")
[ -t 0 ] || options+=(--yes --non-interactive)
step "update" pulumi up "${options[@]}" "$@"
step "probe the site" tools/smoke.sh "$stack"
step "see that nothing is left to do" nothing_left
