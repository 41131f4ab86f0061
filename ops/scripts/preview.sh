#!/usr/bin/env bash
# Shows in Markdown what an update of a stack would do, for a comment on a pull
# request. Exit status: that of Pulumi.
#
# Usage: preview.sh STACK [OPTION...]; OPTIONS are more of those of `pulumi preview`.
set -euo pipefail

# GitHub takes 65,536 characters; the rest of the comment needs some, too.
readonly limit=60000 ending=3000

stack=${1:-}
if [ -z "$stack" ]; then
  echo "which stack? Write: make preview STACK=production" >&2
  exit 1
fi
shift
cd "$(dirname "$0")/../.."

# As many of the first lines as there are in so many bytes, and of the last.
first() { LC_ALL=C awk -v limit="$1" '{ size += length($0) + 1 } size <= limit'; }
last() {
  LC_ALL=C awk -v limit="$1" '
    { line[NR] = $0 }
    END {
      for (from = NR + 1; from > 1 && (size += length(line[from - 1]) + 1) <= limit; from--);
      for (; from <= NR; from++) print line[from]
    }'
}

text=$(mktemp)
trap 'rm -f "$text"' EXIT
status=0
pulumi preview --stack "$stack" --diff --refresh --non-interactive --color never --suppress-progress "$@" >"$text" 2>&1 || status=$?
# Whoever reads a log wants all of it, and at once.
cat "$text" >&2

commit=$(git rev-parse --short=12 --verify HEAD 2>/dev/null) || commit="no commit"
if [ "$status" -eq 0 ]; then
  printf '### What an update of %s would do\n\n' "\`$stack\`"
else
  printf '### The preview of %s failed\n\n' "\`$stack\`"
fi
printf 'As of %s, by %s:\n\n' "$commit" "\`pulumi preview\`"
# A fence that is longer than any in the text.
fence=$(grep -oE '`+' "$text" | sort -u | tail -n 1 || true)
fence="\`\`\`$fence"
printf '%sdiff\n' "$fence"
if [ "$(wc -c <"$text")" -le "$limit" ]; then
  cat "$text"
  printf '%s\n' "$fence"
else
  # What it ends with is the sum of it.
  first $((limit - ending)) <"$text"
  printf '[...]\n'
  last "$ending" <"$text"
  printf '%s\n\nThis is not all of it: the rest is in the log of the workflow.\n' "$fence"
fi
exit "$status"
