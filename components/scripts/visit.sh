# Visits a site by its name, at one address, until the server that it should be
# answers with the release that it should have, or until the time is over: then
# it says what answered instead.
#
# Environment: NAME, ADDRESS (IPv4), PORT (443), ROOTS (a PEM file of authorities,
# "" for those of this machine), CERTIFICATE (valid or any), SERVER (instance id),
# RELEASE, WITHIN (seconds).
set -euo pipefail

leads_here() { getent ahostsv4 "$NAME" | grep -q "^$ADDRESS "; }

# An authority looks for the site where its name leads. Nobody who comes by the
# name meets this server until then, with or without a certificate.
if [ "$CERTIFICATE" = valid ] && ! leads_here; then
  echo "$NAME does not lead to $ADDRESS yet, so that no certificate can be had for it, and none is asked for here." \
    "Make the DNS records: pulumi stack output dnsRecords lists them where no zone is configured." >&2
  CERTIFICATE=any
fi

options=(--fail --silent --show-error --max-time 5 --connect-to "::$ADDRESS:${PORT:-443}")
if [ "$CERTIFICATE" = any ]; then
  options+=(--insecure)
elif [ -n "$ROOTS" ]; then
  options+=(--cacert "$ROOTS")
fi

# A single request; an error of curl's is an answer as well.
ask() { curl "${options[@]}" "https://$NAME/.well-known/$1" 2>&1 || true; }

SECONDS=0
while true; do
  by=$(ask server)
  with=$(ask release)
  if [[ $by == *"\"$SERVER\""* && $with == *"\"$RELEASE\""* ]]; then
    echo "https://$NAME/ is served at $ADDRESS by $SERVER with release $RELEASE"
    exit 0
  fi
  if [ "$SECONDS" -ge "$WITHIN" ]; then
    echo "https://$NAME/ is not served as it should be at $ADDRESS after $SECONDS seconds." >&2
    echo "/.well-known/server should name $SERVER, and is: $by" >&2
    echo "/.well-known/release should name $RELEASE, and is: $with" >&2
    exit 1
  fi
  sleep 0.2
done
