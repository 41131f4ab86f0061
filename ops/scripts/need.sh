#!/usr/bin/env bash
# Installs the Debian packages that are missing, or lists them if it cannot. On other systems a program of
# the same name counts as the package.
#
# Usage: need.sh PACKAGE...
set -euo pipefail

# Reports whether a package is installed.
installed() {
  if command -v dpkg-query >/dev/null; then
    dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
  else
    command -v "$1" >/dev/null
  fi
}

missing=()
for package in "$@"; do
  installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "please install: ${missing[*]} (on Debian: sudo apt-get install ${missing[*]})" >&2
  exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
