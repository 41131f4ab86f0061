#!/usr/bin/env bash
# Deploys an earlier commit again: its configuration, its bundle and its site. Afterwards the checkout has
# the files of that commit, staged.
#
# Usage: rollback.sh STACK [COMMIT]. Default: the commit of the newest successful update of another commit
# than the latest update's.
set -euo pipefail

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

stack=${1:-}
commit=${2:-}
[ -n "$stack" ] || fail "no stack given; run: make rollback STACK=production [TO=commit]"
cd "$(dirname "$0")/../.."
# Sourced now, since the rollback changes the files.
. ops/scripts/checkout.sh
top=$(git rev-parse --show-toplevel)

changed=$(git status --porcelain --untracked-files=no --ignore-submodules=none)
[ -z "$changed" ] ||
  fail "uncommitted changes; commit them, or discard them (git checkout FILE, in a submodule: git submodule update):
$changed"
while IFS= read -r submodule; do
  [ -z "$submodule" ] || [ -z "$(git -C "$submodule" rev-list --max-count=1 HEAD --not --remotes)" ] ||
    fail "the submodule $submodule has commits that are on no remote; push them first: git -C $submodule push"
done <<<"$(submodules)"

if [ -z "$commit" ]; then
  commit=$(pulumi stack history --stack "$stack" --json | jq --raw-output '
    map(select(.kind == "update" and .message != "shut out of SSH" and .environment["git.head"] != null)) as $updates
    | $updates[0].environment["git.head"] as $latest
    | first($updates[] | select(.result == "succeeded" and .environment["git.dirty"] != "true")
        | .environment["git.head"] | select(. != $latest)) // ""')
  # An update from a checkout with uncommitted changes is no commit to return to.
  [ -n "$commit" ] || fail "cannot choose a commit: the history of stack $stack has no successful update of an earlier \
one; name it: make rollback STACK=$stack TO=commit"
fi
git rev-parse --quiet --verify "$commit^{commit}" >/dev/null ||
  fail "there is no commit $commit in this clone; fetch it, or name another: make rollback STACK=$stack TO=commit"
short=$(git rev-parse --short=12 "$commit")

# Prints a path without . and .. in it; fails if it leads out of the repository.
inside() {
  local IFS=/ part path=""
  set -f
  for part in $1; do
    case $part in
    "" | .) ;;
    ..)
      [ -n "$path" ] || return 1
      case $path in */*) path=${path%/*} ;; *) path="" ;; esac
      ;;
    *) path=${path:+$path/}$part ;;
    esac
  done
  printf '%s\n' "$path"
}

# Fails unless the commit has the site at the configured siteDir, through symbolic links too: a rollback
# does not restore what is outside of the repository.
require_site() {
  local outside rest path seen entry target links=0
  outside="cannot roll the site back: siteDir $1 is not in this repository; restore it where it is, then run: \
pulumi up --stack $stack"
  case $1 in
  "$top" | "$top"/*) rest=${1#"$top"} ;;
  /*)
    # git resolves links above the repository's path; siteDir may have some.
    path=$(cd -P "$1" 2>/dev/null && pwd) || fail "$outside"
    case $path in "$top" | "$top"/*) rest=${path#"$top"} ;; *) fail "$outside" ;; esac
    ;;
  *) rest=$(git rev-parse --show-prefix)$1 ;;
  esac
  rest=$(inside "$rest") || fail "$outside"
  seen=""
  while [ -n "$rest" ]; do
    path=${seen:+$seen/}${rest%%/*}
    case $rest in */*) rest=${rest#*/} ;; *) rest="" ;; esac
    entry=$(git -C "$top" ls-tree "$commit" -- "$path")
    case $entry in
    120000*)
      links=$((links + 1))
      [ "$links" -le 10 ] || fail "$outside"
      target=$(git -C "$top" cat-file blob "$commit:$path")
      case $target in
      "$top"/*) rest=${target#"$top"}/$rest ;;
      /*) fail "$outside" ;;
      *) rest=$seen/$target/$rest ;;
      esac
      rest=$(inside "$rest") || fail "$outside"
      seen=""
      continue
      ;;
    160000*) return 0 ;; # A submodule has the rest of the path.
    040000*) seen=$path ;;
    *) fail "cannot roll the site back: commit $short does not contain siteDir $1" ;;
    esac
  done
}

# All checks come before the first change.
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
git show "$commit:./Pulumi.$stack.yaml" >"$temporary/Pulumi.$stack.yaml" 2>/dev/null ||
  fail "the commit $short has no Pulumi.$stack.yaml; name another: make rollback STACK=$stack TO=commit"
config=$(pulumi config --json --non-interactive --stack "$stack" --config-file "$temporary/Pulumi.$stack.yaml") ||
  fail "cannot read the configuration of stack $stack in $short"
require_site "$(jq --raw-output '."immutable-infra:siteDir".value // "site"' <<<"$config")"
while IFS= read -r submodule; do
  [ -n "$submodule" ] || continue
  case $(git -C "$top" ls-tree "$commit" -- "$submodule") in
  "" | 160000*) ;;
  *) fail "$submodule is a submodule now, and was part of this repository in $short; roll back in a new clone: git \
clone --recurse-submodules, git checkout $short, pulumi up --stack $stack" ;;
  esac
done <<<"$(git -C "$top" -c core.quotePath=false ls-files --stage | sed -n 's/^160000 [0-9a-f]* [0-9]	//p')"
if [ -n "$(lfs_pointers "$commit")" ]; then
  { git lfs version && git config filter.lfs.clean; } >/dev/null 2>&1 ||
    fail "files of $short are in Git LFS; install git-lfs, run git lfs install, then: \
make rollback STACK=$stack TO=$short"
  git lfs fetch origin "$commit" >&2 || fail "cannot fetch the files in Git LFS of $short from origin"
fi

# restore COMMIT checks out the files of a commit, with its submodules and files in Git LFS.
restore() {
  local submodule file
  git restore --source="$1" --staged --worktree -- :/ &&
    git submodule --quiet update --init --recursive --checkout &&
    [ -z "$(git submodule status --recursive | sed -n '/^[-+U]/p')" ] || return 1
  # A checkout that was made without git-lfs keeps the pointers that are the same in both commits.
  lfs_pointers "" | while IFS= read -r file; do
    git cat-file blob ":$file" | git lfs smudge -- "$file" >"$temporary/content" &&
      cat "$temporary/content" >"$top/$file" && git -C "$top" update-index -- "$file" || exit 1
  done || return 1
  submodules | while IFS= read -r submodule; do
    (cd "$submodule" && { [ -z "$(lfs_pointers "")" ] || git lfs pull >&2; }) || exit 1
  done || return 1
  [ -z "$(all_lfs_pointers)" ]
}

printf 'back to %s\n' "$(git log -1 --format='%h, "%s", of %ad' --date=iso "$commit")"
forward="git restore --staged --worktree :/"
[ -z "$(submodules)" ] || forward="$forward && git submodule update --init --recursive --checkout"
if ! restore "$commit"; then
  restore HEAD || fail "cannot check out $short, nor HEAD again; nothing was deployed; undo: $forward"
  fail "cannot check out $short: a submodule or a file in Git LFS is missing; nothing was deployed, this checkout is \
unchanged"
fi
if ! pulumi up --yes --stack "$stack"; then
  fail "cannot deploy $short; the server before it still serves; retry: pulumi up --stack $stack; undo: $forward"
fi
printf 'Stack %s and this checkout are at %s. Keep it: git commit. Undo: %s\n' "$stack" "$short" "$forward"
