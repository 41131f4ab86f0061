#!/usr/bin/env bash
# Pushes the changes of this checkout straight to its branch, and starts their deployment at GitHub: to
# test first, like every other change.
#
# Usage: land.sh TITLE
#
# Environment: GH_TOKEN, with which gh and git push.
set -euo pipefail

title=${1:?usage: land.sh TITLE}

if [ -z "$(git status --porcelain --untracked-files=no)" ]; then
  echo "no changes; nothing is deployed"
  exit 0
fi
branch=$(git branch --show-current)
if [ -z "$branch" ]; then
  echo "cannot push: the checkout is on no branch; switch to one" >&2
  exit 1
fi
git commit --quiet --all --message "$title"
gh auth setup-git
git push --quiet origin "$branch"
# A push with the workflow's own token starts no other workflow. With another token deploy.yml runs twice,
# one after the other, and the second run finds nothing to do.
gh workflow run deploy.yml --ref "$branch"
