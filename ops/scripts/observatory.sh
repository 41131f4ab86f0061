#!/usr/bin/env bash
# Checks a site with the MDN HTTP Observatory (formerly Mozilla's), and prints the result as JSON.
#
# Usage: observatory.sh DIRECTORY AUTHORITIES HOST; DIRECTORY caches the program, AUTHORITIES is a PEM
# file. Exit status 3: Node.js 20 is missing.
set -euo pipefail

directory=${1:?usage: observatory.sh DIRECTORY AUTHORITIES HOST}
authorities=$(realpath "${2:?}")
host=${3:?}
package=@mdn/mdn-http-observatory
version=1.4.8

if ! command -v npm >/dev/null ||
  ! node --eval 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null; then
  echo "needs Node.js 20 or newer, with npm" >&2
  exit 3
fi
mkdir -p "$directory"
cd "$directory"
if [ ! -e "installed-$version" ]; then
  # The package's scripts would download lists of public sites, which do not have this one.
  npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . "$package@$version" >&2
  echo '{}' >"node_modules/$package/conf/hsts-preload.json"
  touch "installed-$version"
fi
NODE_EXTRA_CA_CERTS=$authorities exec node "node_modules/$package/src/scan.js" "$host"
