#!/usr/bin/env bash
# Brings the commit that is checked out to one stack, and when that has proven itself,
# to the next: as the workflow does. What fails before the second stack's turn leaves
# that one as it was.
#
# Usage: promote.sh [FROM TO]; test and production where nothing is given.
set -euo pipefail

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

from=${1:-test}
to=${2:-production}
[ "$from" != "$to" ] || fail "from $from to $to is no way. Write: make promote FROM=test TO=production"
cd "$(dirname "$0")/../.."
for stack in "$from" "$to"; do
  [ -e "Pulumi.$stack.yaml" ] || fail "there is no Pulumi.$stack.yaml, and so no stack $stack to promote. Write: make promote FROM=test TO=production"
done

# What is deployed has to be found again: for a roll-back, and by whoever asks what was tested.
changed=$(git status --porcelain --ignore-submodules=none)
[ -z "$changed" ] || fail "these files have changes that are in no commit. Commit them first, or put them back (git checkout FILE):
$changed"
commit=$(git rev-parse HEAD)

printf 'promote %s: %s, then %s\n' "$(git log -1 --format='%h, "%s"')" "$from" "$to"
# A test needs nobody's consent.
ops/scripts/deploy.sh "$from" --yes || fail "$from failed, and $to was not touched"
[ "$(git rev-parse HEAD) $(git status --porcelain --ignore-submodules=none)" = "$commit " ] || fail "the checkout has changed meanwhile: what was tested is not what would go to $to, which was not touched"
ops/scripts/deploy.sh "$to" || fail "$to failed. docs/runbook.md says what to do; back to what was there before: make rollback STACK=$to"
printf '%s is on %s and %s\n' "${commit:0:12}" "$from" "$to"
