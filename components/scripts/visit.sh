# Visits a site until the server that it should be answers with the release that
# it should have, or until the time is over: then it says what answered instead.
#
# Environment: URL (without a path), SERVER (instance id), RELEASE, WITHIN (seconds).
set -euo pipefail

# A single request; an error of curl's is an answer as well.
ask() { curl --fail --silent --show-error --max-time 5 "$URL/.well-known/$1" 2>&1 || true; }

SECONDS=0
while true; do
  by=$(ask server)
  with=$(ask release)
  if [[ $by == *"\"$SERVER\""* && $with == *"\"$RELEASE\""* ]]; then
    echo "$URL is served by $SERVER with release $RELEASE"
    exit 0
  fi
  if [ "$SECONDS" -ge "$WITHIN" ]; then
    echo "$URL is not served as it should be after $SECONDS seconds." >&2
    echo "/.well-known/server should name $SERVER, and is: $by" >&2
    echo "/.well-known/release should name $RELEASE, and is: $with" >&2
    exit 1
  fi
  sleep 0.2
done
