#!/usr/bin/env bash
# Deploys the commit that is checked out to one stack and, if that succeeds, to the next, as the workflow
# does. A failure of the first leaves the second as it was.
#
# Usage: promote.sh [FROM TO]. Default: test production.
set -euo pipefail

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

from=${1:-test}
to=${2:-production}
[ "$from" != "$to" ] || fail "FROM and TO must differ; run: make promote FROM=test TO=production"
cd "$(dirname "$0")/../.."
for stack in "$from" "$to"; do
  [ -e "Pulumi.$stack.yaml" ] ||
    fail "cannot promote stack $stack: there is no Pulumi.$stack.yaml; run: make promote FROM=test TO=production"
done

# A rollback restores commits, and what was tested must be in one.
changed=$(git status --porcelain --ignore-submodules=none)
[ -z "$changed" ] || fail "uncommitted changes; commit them, or discard them (git checkout FILE):
$changed"
commit=$(git rev-parse HEAD)

printf 'promote %s: %s, then %s\n' "$(git log -1 --format='%h, "%s"')" "$from" "$to"
# Only the second stack asks for consent.
ops/scripts/deploy.sh "$from" --yes || fail "cannot deploy to $from; $to was not touched"
[ "$(git rev-parse HEAD) $(git status --porcelain --ignore-submodules=none)" = "$commit " ] ||
  fail "the checkout changed during the deployment to $from, so $to would get something else; $to was not touched"
ops/scripts/deploy.sh "$to" ||
  fail "cannot deploy to $to; see docs/runbook.md, or return to the previous commit: make rollback STACK=$to"
printf '%s is on %s and %s\n' "${commit:0:12}" "$from" "$to"
