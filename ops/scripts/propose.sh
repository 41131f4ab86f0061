#!/usr/bin/env bash
# Proposes the changes of this checkout as a pull request, the only one of its branch. It replaces an
# earlier proposal.
#
# Usage: propose.sh BRANCH TITLE BODY-FILE
#
# Environment: GH_TOKEN, with which gh and git push.
set -euo pipefail

branch=${1:?usage: propose.sh BRANCH TITLE BODY-FILE}
title=${2:?}
body=${3:?}

if [ -z "$(git status --porcelain --untracked-files=no)" ]; then
  echo "no changes; nothing is proposed"
  exit 0
fi
base=$(git branch --show-current)
if [ -z "$base" ]; then
  echo "cannot propose changes: the checkout is on no branch; switch to one" >&2
  exit 1
fi
git switch --quiet --force-create "$branch"
git commit --quiet --all --message "$title"
gh auth setup-git
# An earlier proposal that was not merged is replaced.
git push --quiet --force origin "$branch"
open=$(gh pr list --head "$branch" --base "$base" --state open --json number --jq '.[].number')
if [ -n "$open" ]; then
  gh pr edit "$open" --title "$title" --body-file "$body"
else
  gh pr create --head "$branch" --base "$base" --title "$title" --body-file "$body"
fi
