#!/usr/bin/env bash
# Brings an earlier commit back: its configuration, its bundle and its site. The
# checkout has the files of that commit afterwards, staged.
#
# Usage: rollback.sh STACK [COMMIT]
#
# Without COMMIT: the newest successful update of another commit than that of
# the latest update.
set -euo pipefail

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

stack=${1:-}
commit=${2:-}
[ -n "$stack" ] || fail "which stack? Write: make rollback STACK=production [TO=commit]"
cd "$(git rev-parse --show-toplevel)"

changed=$(git status --porcelain --untracked-files=no)
[ -z "$changed" ] || fail "these files have changes that are in no commit. Commit them first, or put them back (git checkout FILE):
$changed"

if [ -z "$commit" ]; then
  commit=$(pulumi stack history --stack "$stack" --json | jq --raw-output '
    map(select(.kind == "update" and .message != "shut out of SSH" and .environment["git.head"] != null)) as $updates
    | $updates[0].environment["git.head"] as $latest
    | first($updates[] | select(.result == "succeeded" and .environment["git.dirty"] != "true") | .environment["git.head"] | select(. != $latest)) // ""')
  [ -n "$commit" ] || fail "the history of stack $stack has no successful update of an earlier commit. Only updates from a checkout without uncommitted changes can be found again. Name a commit: make rollback STACK=$stack TO=commit"
fi
git rev-parse --quiet --verify "$commit^{commit}" >/dev/null || fail "there is no commit $commit in this clone. Fetch it, or name another: make rollback STACK=$stack TO=commit"

printf 'back to %s\n' "$(git log -1 --format='%h, "%s", of %ad' --date=iso "$commit")"
git restore --source="$commit" --staged --worktree -- .
if ! pulumi up --yes --stack "$stack"; then
  fail "the rollback failed, and what served before it still does. To try it again: pulumi up --stack $stack. To be where you were: git restore --staged --worktree ."
fi
printf 'Stack %s is as in %s, and so is this checkout. Keep that: git commit. Forward again: git restore --staged --worktree .\n' "$stack" "${commit:0:12}"
