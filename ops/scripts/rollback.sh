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
cd "$(dirname "$0")/../.."
# The functions stay as they are when the files change.
. ops/scripts/checkout.sh
top=$(git rev-parse --show-toplevel)

changed=$(git status --porcelain --untracked-files=no --ignore-submodules=none)
[ -z "$changed" ] || fail "these files have changes that are in no commit. Commit them first, or put them back (git checkout FILE, in a submodule: git submodule update):
$changed"
while IFS= read -r submodule; do
  [ -z "$submodule" ] || [ -z "$(git -C "$submodule" rev-list --max-count=1 HEAD --not --remotes)" ] ||
    fail "the submodule $submodule has commits that are on no remote, and would leave it. Push them first: git -C $submodule push"
done <<<"$(submodules)"

if [ -z "$commit" ]; then
  commit=$(pulumi stack history --stack "$stack" --json | jq --raw-output '
    map(select(.kind == "update" and .message != "shut out of SSH" and .environment["git.head"] != null)) as $updates
    | $updates[0].environment["git.head"] as $latest
    | first($updates[] | select(.result == "succeeded" and .environment["git.dirty"] != "true") | .environment["git.head"] | select(. != $latest)) // ""')
  [ -n "$commit" ] || fail "the history of stack $stack has no successful update of an earlier commit. Only updates from a checkout without uncommitted changes can be found again. Name a commit: make rollback STACK=$stack TO=commit"
fi
git rev-parse --quiet --verify "$commit^{commit}" >/dev/null || fail "there is no commit $commit in this clone. Fetch it, or name another: make rollback STACK=$stack TO=commit"
short=$(git rev-parse --short=12 "$commit")

# Prints a path of slashes without . and .. in it; fails where it leads out of the repository.
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

# Fails unless the commit has the site, followed through links, whose directory is given as in the
# configuration: what is elsewhere stays as it is in a roll-back.
require_site() {
  local outside rest path seen entry target links=0
  outside="the site of $short, siteDir $1, is not in this repository, and cannot be rolled back with it. Bring it back where it is, then run: pulumi up --stack $stack"
  case $1 in
  "$top" | "$top"/*) rest=${1#"$top"} ;;
  /*)
    # git's path of the repository has no links above it; this one may.
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
    160000*) return 0 ;; # a submodule; the rest of the path is in it
    040000*) seen=$path ;;
    *) fail "the commit $short has no site at siteDir $1: git does not know it, and a roll-back would leave it as it is" ;;
    esac
  done
}

# What must hold is checked before anything is changed.
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
git show "$commit:./Pulumi.$stack.yaml" >"$temporary/Pulumi.$stack.yaml" 2>/dev/null ||
  fail "the commit $short has no Pulumi.$stack.yaml, and so no configuration of stack $stack. Name another: make rollback STACK=$stack TO=commit"
config=$(pulumi config --json --non-interactive --stack "$stack" --config-file "$temporary/Pulumi.$stack.yaml") ||
  fail "cannot read the configuration of stack $stack in $short"
require_site "$(jq --raw-output '."immutable-infra:siteDir".value // "site"' <<<"$config")"
while IFS= read -r submodule; do
  [ -n "$submodule" ] || continue
  case $(git -C "$top" ls-tree "$commit" -- "$submodule") in
  "" | 160000*) ;;
  *) fail "$submodule is a submodule, and was part of this repository in $short. Roll back in a new clone: git clone --recurse-submodules, git checkout $short, pulumi up --stack $stack" ;;
  esac
done <<<"$(git -C "$top" -c core.quotePath=false ls-files --stage | sed -n 's/^160000 [0-9a-f]* [0-9]	//p')"
if [ -n "$(lfs_pointers "$commit")" ]; then
  { git lfs version && git config filter.lfs.clean; } >/dev/null 2>&1 ||
    fail "files of $short are in Git LFS. Install git-lfs, run git lfs install, and then: make rollback STACK=$stack TO=$short"
  git lfs fetch origin "$commit" >&2 || fail "cannot fetch the content of the files in Git LFS of $short from origin"
fi

# Brings the files of a commit, of its submodules and in Git LFS.
bring() {
  local submodule file
  git restore --source="$1" --staged --worktree -- :/ &&
    git submodule --quiet update --init --recursive --checkout &&
    [ -z "$(git submodule status --recursive | sed -n '/^[-+U]/p')" ] || return 1
  # A checkout that had pointers, as it was made without git-lfs, still has those that are the same.
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
if ! bring "$commit"; then
  bring HEAD || fail "cannot bring the content of $short, nor that of HEAD again. Nothing was deployed. To be where you were: $forward"
  fail "cannot bring the content of $short: a submodule or a file in Git LFS cannot be had. Nothing was deployed, and this checkout is as it was"
fi
if ! pulumi up --yes --stack "$stack"; then
  fail "the rollback failed, and what served before it still does. To try it again: pulumi up --stack $stack. To be where you were: $forward"
fi
printf 'Stack %s is as in %s, and so is this checkout. Keep that: git commit. Forward again: %s\n' "$stack" "$short" "$forward"
