#!/usr/bin/env bash
# Updates a stack, probes its site from outside, and checks that no change is left. It stops at the first
# step that fails. It refuses a checkout that lacks its submodules or files in Git LFS.
#
# If the stack sets sshFromRunner, SSH is open to this machine during the update, by its public address
# (or SSH_FROM). It is closed again whether the update succeeds or not; after a kill, by the next update.
#
# Usage: deploy.sh STACK [OPTION...]; OPTIONS are those of `pulumi up`. On a terminal Pulumi shows its
# plan and asks, unless --yes is among them.
set -euo pipefail

stack=${1:-}
if [ -z "$stack" ]; then
  echo "no stack given; run: make deploy STACK=test" >&2
  exit 1
fi
shift
cd "$(dirname "$0")/../.."
. ops/scripts/checkout.sh
require_whole_checkout

# step NAME COMMAND [ARGUMENT...] runs a command, and logs its name and duration.
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

# Fails, and shows the changes, if an update would change anything.
no_change_left() {
  local text
  if ! text=$(pulumi preview --stack "$stack" --expect-no-changes --non-interactive --diff --suppress-progress 2>&1)
  then
    printf '%s\n' "$text" >&2
    return 1
  fi
}

# Deletes the rule for SSH, which the program creates only if SSH_FROM is set. The security group must not
# be a target: a server depends on it, and after a failed update the old server would be deleted with it.
shut_out() {
  unset SSH_FROM
  trap - EXIT
  # By this message rollback.sh tells the update from one that deploys a commit.
  if ! pulumi up --stack "$stack" --yes --non-interactive --skip-preview --message "shut out of SSH" \
    --target '**::network-runner-ssh'; then
    echo "$stack: SSH may still be open to this machine; the next update closes it: pulumi up --stack $stack" >&2
    return 1
  fi
}

if grep -qsE '^ *immutable-infra:sshFromRunner: *"?true"? *$' "Pulumi.$stack.yaml"; then
  if [ -z "${SSH_FROM:-}" ]; then
    address=$(curl --fail --silent --show-error --max-time 20 https://checkip.amazonaws.com) || {
      echo "$stack: cannot look up this machine's public address; set SSH_FROM, such as 203.0.113.7/32" >&2
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
  step "close SSH to this machine" shut_out
fi
step "probe the site" ops/scripts/smoke.sh "$stack"
step "check that no change is left" no_change_left
