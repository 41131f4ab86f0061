#!/usr/bin/env bash
# Runs a command in a job at GitHub, whose runner obeys lines such as `::add-mask::x` in the output. Servers,
# builds of the site and Pulumi's state write to that output, so the runner has to ignore such lines until
# the command ends.
#
# Usage: exec inert.sh COMMAND [ARGUMENT...]. Exit status: that of the command. Stdout is the job's log, or
# a file.
#
# SIGINT, SIGTERM and SIGHUP reach the command and every process that it has started. When a job is
# canceled, the runner signals the step's shell alone: without exec, nothing else.
set -euo pipefail

token=$(openssl rand -hex 16)
# The runner reads stdout and stderr separately, so a last line of one could come after the token in the
# other. Both go to one stream. The token's line begins with a newline, which the command may have left out.
if [ -f /dev/stdout ]; then
  exec 3>&2
else
  exec 3>&1 2>&1
fi
printf '::stop-commands::%s\n' "$token" >&3

command="" pending="" interrupted=1 signalled=""
forward() {
  interrupted=1 signalled=1
  if [ -z "$command" ]; then
    pending=$1
    return
  fi
  kill -s "$1" -- "-$command" 2>/dev/null || true
}
trap 'forward INT' INT
trap 'forward TERM' TERM
trap 'forward HUP' HUP

# Job control gives the command a process group of its own. Without it, background commands ignore SIGINT.
set -m
"$@" 3>&- &
command=$!
set +m
[ -z "$pending" ] || forward "$pending"

# A signal ends the wait, not always the command.
while [ -n "$interrupted" ]; do
  interrupted="" status=0
  wait "$command" || status=$?
done
# The command may die of a signal before what it has started. The runner gives both 10 s.
for ((tenths = 0; tenths < 100; tenths++)); do
  if [ -z "$signalled" ] || ! kill -0 -- "-$command" 2>/dev/null; then break; fi
  sleep 0.1
done
printf '\n::%s::\n' "$token" >&3
exit "$status"
