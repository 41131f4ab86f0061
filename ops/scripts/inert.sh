#!/usr/bin/env bash
# Runs a command in a job at GitHub, whose runner obeys lines such as `::add-mask::x` in the output.
# Servers, builds of the site and Pulumi's state have a say in that output, so the runner is told to
# obey none of it until the command has ended.
#
# Usage: inert.sh COMMAND [ARGUMENT...]. Exit status: that of the command. Stdout is the job's log, or
# a file. SIGINT, SIGTERM and SIGHUP reach the command and all that it has started. The runner signals
# the shell of the step alone, so a step needs `exec` before this script.
set -euo pipefail

token=$(openssl rand -hex 16)
# The runner reads stdout and stderr apart, so that a last line of one may come after the token in the
# other: the log is one stream. The token's line begins after a newline that the command may have left out.
if [ -f /dev/stdout ]; then
  exec 3>&2
else
  exec 3>&1 2>&1
fi
printf '::stop-commands::%s\n' "$token" >&3

# Job control gives the command a process group, and SIGINT, which background commands ignore without it.
set -m
"$@" 3>&- &
command=$!
set +m

interrupted=1 signalled=""
forward() {
  interrupted=1 signalled=1
  kill -s "$1" -- "-$command" 2>/dev/null || true
}
trap 'forward INT' INT
trap 'forward TERM' TERM
trap 'forward HUP' HUP
# A signal ends the wait, not always the command.
while [ -n "$interrupted" ]; do
  interrupted="" status=0
  wait "$command" || status=$?
done
# The command may die of a signal before what it has started.
for ((tenths = 0; tenths < 100; tenths++)); do
  [ -n "$signalled" ] && kill -0 -- "-$command" 2>/dev/null || break
  sleep 0.1
done
printf '\n::%s::\n' "$token" >&3
exit "$status"
