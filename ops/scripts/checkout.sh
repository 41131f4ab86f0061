#!/usr/bin/env bash
# Functions of the scripts that deploy, about the content of a checkout. To be sourced.

# Lists the tracked files of the repository here that hold the pointer of a file in Git LFS in
# place of its content, one a line: those of a commit, or with "" those in the file system.
lfs_pointers() {
  local commit=$1 path line
  {
    git grep -lIz --full-name --all-match -e '^version https://git-lfs\.github\.com/spec/v1$' -e '^oid sha256:[0-9a-f]\{64\}$' \
      ${commit:+"$commit"} -- ':/' || [ $? -eq 1 ] # none
  } |
    while IFS= read -r -d '' path; do
      path=${path#"$commit:"}
      # A page about LFS has the same lines, below others.
      if [ -n "$commit" ]; then
        line=$(git cat-file blob "$commit:$path" | sed -n 1p)
      else
        line=$(sed -n 1p "$(git rev-parse --show-toplevel)/$path")
      fi
      [ "$line" != "version https://git-lfs.github.com/spec/v1" ] || printf '%s\n' "$path"
    done
}

# Lists the submodules that are there, nested ones included, one a line.
submodules() {
  # shellcheck disable=SC2016 # git's variable
  git submodule --quiet foreach --recursive 'printf "%s\n" "$displaypath"'
}

# Lists the pointers as above, those in submodules included.
all_lfs_pointers() {
  local submodule
  lfs_pointers ""
  submodules | while IFS= read -r submodule; do
    (cd "$submodule" && lfs_pointers "" | sed "s|^|$submodule: |")
  done
}

# Fails, with what to do, where the checkout lacks content, which would be missing on the site.
# A submodule at another commit than the recorded one is a change as any other, and no failure.
require_whole_checkout() {
  local empty pointers
  # An unpacked archive has no submodules, and nothing to compare with.
  git rev-parse --git-dir >/dev/null 2>&1 || return 0
  empty=$(git submodule status --recursive | sed -n 's/^-[0-9a-f]* //p')
  if [ -n "$empty" ]; then
    printf 'these submodules are empty; fill them (git submodule update --init --recursive):\n%s\n' "$empty" >&2
    return 1
  fi
  pointers=$(all_lfs_pointers)
  if [ -n "$pointers" ]; then
    printf 'these files are pointers of Git LFS without their content; install git-lfs, then run git lfs pull:\n%s\n' "$pointers" >&2
    return 1
  fi
}
