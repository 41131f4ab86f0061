#!/usr/bin/env bash
# Runs a command in a job at GitHub, whose runner obeys lines such as `::add-mask::x` in the output.
# Servers, builds of the site and Pulumi's state have a say in that output, so the runner is told to
# obey none of it until the command has ended.
#
# Usage: inert.sh COMMAND [ARGUMENT...]. Exit status: that of the command.
set -euo pipefail

token=$(openssl rand -hex 16)
printf '::stop-commands::%s\n' "$token" >&2
status=0
"$@" || status=$?
printf '::%s::\n' "$token" >&2
exit "$status"
