#!/usr/bin/env bash
# Runs a command in a job at GitHub, whose runner obeys lines such as `::add-mask::x` in the output.
# Servers, builds of the site and Pulumi's state have a say in that output, so the runner is told to
# obey none of it until the command has ended.
#
# Usage: inert.sh COMMAND [ARGUMENT...]. Exit status: that of the command. Stdout is the job's log, or
# a file.
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
status=0
"$@" 3>&- || status=$?
printf '\n::%s::\n' "$token" >&3
exit "$status"
