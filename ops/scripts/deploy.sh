#!/usr/bin/env bash
# Updates a stack, probes its site from outside, and makes sure that nothing is left
# to be done: what the workflow does with test, and then with production. It stops at
# the first of them that fails. A checkout without its submodules or files in Git LFS
# is refused.
#
# Where the stack's configuration has sshFromRunner, this machine is let in for the time of
# the update, by its public address (or SSH_FROM), and shut out again whatever becomes of
# the update. After a kill the next update does that.
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
cd "$(dirname "$0")/../.."
. ops/scripts/checkout.sh
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

# The program has no rule for SSH where it is not told whom to let in. This deletes that rule. Its group
# must be no target: a server depends on it, and after a failed update that would delete the old server.
shut_out() {
  unset SSH_FROM
  trap - EXIT
  # rollback.sh knows by the message that this is no update of a commit.
  if ! pulumi up --stack "$stack" --yes --non-interactive --skip-preview --message "shut out of SSH" --target '**::network-runner-ssh'; then
    echo "$stack: SSH may still be open to this machine. The next update closes it: pulumi up --stack $stack" >&2
    return 1
  fi
}

if grep -qsE '^ *immutable-infra:sshFromRunner: *"?true"? *$' "Pulumi.$stack.yaml"; then
  if [ -z "${SSH_FROM:-}" ]; then
    address=$(curl --fail --silent --show-error --max-time 20 https://checkip.amazonaws.com) || {
      echo "$stack: cannot find out this machine's public address; set SSH_FROM, such as 203.0.113.7/32" >&2
      exit 1
    }
    SSH_FROM=$address/32
  fi
  export SSH_FROM
  trap shut_out EXIT
else
  unset SSH_FROM
fi

options=(--stack "$stack")
[ -t 0 ] || options+=(--yes --non-interactive)
step "update" pulumi up "${options[@]}" "$@"
if [ -n "${SSH_FROM:-}" ]; then
  step "shut this machine out of SSH" shut_out
fi
step "probe the site" ops/scripts/smoke.sh "$stack"
step "see that nothing is left to do" nothing_left
