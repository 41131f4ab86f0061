#!/usr/bin/env bash
# Prints in Markdown what an update of a stack would do, for a comment on a pull request. Exit status:
# that of Pulumi.
#
# Usage: preview.sh STACK [OPTION...]; OPTIONS are those of `pulumi preview`.
set -euo pipefail

# Bytes of Pulumi's output, and of its end. GitHub accepts comments of 65,536 characters.
readonly limit=60000 ending=3000

stack=${1:-}
if [ -z "$stack" ]; then
  echo "no stack given; run: make preview STACK=production" >&2
  exit 1
fi
shift
cd "$(dirname "$0")/../.."

# first BYTES and last BYTES print as many whole lines of stdin as fit.
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
pulumi preview --stack "$stack" --diff --refresh --non-interactive --color never --suppress-progress \
  "$@" >"$text" 2>&1 || status=$?
# The log has all of it.
cat "$text" >&2

commit=$(git rev-parse --short=12 --verify HEAD 2>/dev/null) || commit="no commit"
if [ "$status" -eq 0 ]; then
  printf '### What an update of %s would do\n\n' "\`$stack\`"
else
  printf '### The preview of %s failed\n\n' "\`$stack\`"
fi
printf 'As of %s, by %s:\n\n' "$commit" "\`pulumi preview\`"
# The fence must be longer than any in the text.
fence=$(grep -oE '`+' "$text" | sort -u | tail -n 1 || true)
fence="\`\`\`$fence"
printf '%sdiff\n' "$fence"
if [ "$(wc -c <"$text")" -le "$limit" ]; then
  cat "$text"
  printf '%s\n' "$fence"
else
  # Its last lines are the summary.
  first $((limit - ending)) <"$text"
  printf '[...]\n'
  last "$ending" <"$text"
  printf '%s\n\nThe middle is cut; the log of the workflow has it.\n' "$fence"
fi
exit "$status"
