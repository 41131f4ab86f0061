#!/usr/bin/env bash
# Unpacks Debian packages into a directory instead of installing them, because Debian starts installed
# servers.
#
# Usage: unpack.sh DIRECTORY PACKAGE...
set -euo pipefail

directory=${1:?usage: unpack.sh DIRECTORY PACKAGE...}
shift
missing=()
for package in "$@"; do
  [ -e "$directory/.$package" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "cannot unpack ${missing[*]}: no apt-get; put them on the PATH" >&2
  exit 0
fi
echo "unpacking ${missing[*]}"
mkdir -p "$directory"
cd "$directory"
archives=$(mktemp --directory --tmpdir=.)
trap 'rm -rf "$archives"' EXIT
download() { (cd "$archives" && apt-get -qq -o APT::Sandbox::User=root download "${missing[@]}"); }
if ! download 2>/dev/null; then
  # The package lists are missing, or older than the archive.
  apt-get update -qq
  download
fi
for package in "${missing[@]}"; do
  dpkg-deb --extract "$archives/${package}"_*.deb .
  touch ".$package"
done
