#!/usr/bin/env bash
# Proposes the changes of this checkout as a pull request: the only one from its
# branch, made anew from where the checkout is.
#
# Usage: propose.sh BRANCH TITLE BODY-FILE
#
# Environment: GH_TOKEN, with which gh and git push.
set -euo pipefail

branch=${1:?usage: propose.sh BRANCH TITLE BODY-FILE}
title=${2:?}
body=${3:?}

if [ -z "$(git status --porcelain --untracked-files=no)" ]; then
  echo "nothing has changed, and nothing is proposed"
  exit 0
fi
base=$(git branch --show-current)
if [ -z "$base" ]; then
  echo "the checkout is on no branch, so that there is none to propose changes for" >&2
  exit 1
fi
git switch --quiet --force-create "$branch"
git commit --quiet --all --message "$title"
gh auth setup-git
# What was proposed before, and not taken, is no more.
git push --quiet --force origin "$branch"
open=$(gh pr list --head "$branch" --base "$base" --state open --json number --jq '.[].number')
if [ -n "$open" ]; then
  gh pr edit "$open" --title "$title" --body-file "$body"
else
  gh pr create --head "$branch" --base "$base" --title "$title" --body-file "$body"
fi
