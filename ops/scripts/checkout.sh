#!/usr/bin/env bash
# Functions about the content of a checkout, which deploy.sh and rollback.sh source.

# Lists the tracked files of this repository that hold a Git LFS pointer instead of their content, one
# a line: those of a commit, or with "" those in the file system.
lfs_pointers() {
  local commit=$1 path line
  {
    git grep -lIz --full-name --all-match -e '^version https://git-lfs\.github\.com/spec/v1$' \
      -e '^oid sha256:[0-9a-f]\{64\}$' ${commit:+"$commit"} -- ':/' || [ $? -eq 1 ] # none
  } |
    while IFS= read -r -d '' path; do
      path=${path#"$commit:"}
      # A page about Git LFS may have these lines too, but not as its first.
      if [ -n "$commit" ]; then
        line=$(git cat-file blob "$commit:$path" | sed -n 1p)
      else
        line=$(sed -n 1p "$(git rev-parse --show-toplevel)/$path")
      fi
      [ "$line" != "version https://git-lfs.github.com/spec/v1" ] || printf '%s\n' "$path"
    done
}

# Lists the initialized submodules, nested ones included, one a line.
submodules() {
  # shellcheck disable=SC2016 # git's variable
  git submodule --quiet foreach --recursive 'printf "%s\n" "$displaypath"'
}

# Lists the pointers in the file system, those in submodules included.
all_lfs_pointers() {
  local submodule
  lfs_pointers ""
  submodules | while IFS= read -r submodule; do
    (cd "$submodule" && lfs_pointers "" | sed "s|^|$submodule: |")
  done
}

# Fails if the checkout lacks content, which would be missing on the site. A submodule at another commit
# than the recorded one is a change like any other, not a failure.
require_whole_checkout() {
  local empty pointers
  # An unpacked archive has no submodules and no git data to compare with.
  git rev-parse --git-dir >/dev/null 2>&1 || return 0
  empty=$(git submodule status --recursive | sed -n 's/^-[0-9a-f]* //p')
  if [ -n "$empty" ]; then
    printf 'empty submodules; fill them (git submodule update --init --recursive):\n%s\n' "$empty" >&2
    return 1
  fi
  pointers=$(all_lfs_pointers)
  if [ -n "$pointers" ]; then
    printf 'Git LFS pointers without their content; install git-lfs, then run git lfs pull:\n%s\n' "$pointers" >&2
    return 1
  fi
}
