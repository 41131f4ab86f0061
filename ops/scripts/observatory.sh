#!/usr/bin/env bash
# Has the checks of the MDN HTTP Observatory (formerly Mozilla's) judge a site.
# Prints their result as JSON.
#
# Usage: observatory.sh DIRECTORY AUTHORITIES HOST; the program is kept in DIRECTORY,
# AUTHORITIES is a PEM file. Exit status 3: there is no Node.js 20 to run it.
set -euo pipefail

directory=${1:?usage: observatory.sh DIRECTORY AUTHORITIES HOST}
authorities=$(realpath "${2:?}")
host=${3:?}
package=@mdn/mdn-http-observatory
version=1.4.8

if ! command -v npm >/dev/null || ! node --eval 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null; then
  echo "needs Node.js 20 or newer, with npm" >&2
  exit 3
fi
mkdir -p "$directory"
cd "$directory"
if [ ! -e "installed-$version" ]; then
  # Its scripts download lists of the real world, of which this site is no part.
  npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . "$package@$version" >&2
  echo '{}' >"node_modules/$package/conf/hsts-preload.json"
  touch "installed-$version"
fi
NODE_EXTRA_CA_CERTS=$authorities exec node "node_modules/$package/src/scan.js" "$host"
