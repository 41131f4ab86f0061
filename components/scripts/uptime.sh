# Builds the client of UptimeRobot and runs one of its verbs. It is built here and
# not before, because what deletes runs without the program. uptime/cmd says what it
# reads; the secrets are on standard input.
#
# Environment: VERB, WORK_DIR.
set -euo pipefail

mkdir -p "$WORK_DIR"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$WORK_DIR/uptime" ./uptime/cmd
exec "$WORK_DIR/uptime" "$VERB"
