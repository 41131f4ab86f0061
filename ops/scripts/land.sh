#!/usr/bin/env bash
# Brings the changes of this checkout straight to the branch that it is on, and has
# GitHub deploy them: to test, and from there on as every other change.
#
# Usage: land.sh TITLE
#
# Environment: GH_TOKEN, with which gh and git push.
set -euo pipefail

title=${1:?usage: land.sh TITLE}

if [ -z "$(git status --porcelain --untracked-files=no)" ]; then
  echo "nothing has changed, and nothing is deployed"
  exit 0
fi
branch=$(git branch --show-current)
if [ -z "$branch" ]; then
  echo "the checkout is on no branch, so that there is none to bring changes to" >&2
  exit 1
fi
git commit --quiet --all --message "$title"
gh auth setup-git
git push --quiet origin "$branch"
# What a workflow pushes with its own token starts no other workflow. Where it is another
# token, deploy.yml runs twice, one after the other, and the second time finds nothing to do.
gh workflow run deploy.yml --ref "$branch"
