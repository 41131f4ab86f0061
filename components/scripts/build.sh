# Builds the site into _site and writes the list of its files. Prints the
# release: the first 16 digits of the list's SHA-256.
#
# Environment: BUILD_COMMAND ("" chooses), JEKYLL_ENV, MANIFEST (path of the
# list, in the format of sha256sum).
set -euo pipefail

MANIFEST=$(realpath --canonicalize-missing "$MANIFEST")
if [ -z "$BUILD_COMMAND" ]; then
  BUILD_COMMAND='jekyll build --future'
  if [ -e Gemfile ]; then
    BUILD_COMMAND='bundle exec jekyll build --future'
  fi
fi

rm -rf _site
# Jekyll reports to stdout; stdout here is for the release alone.
bash -c "$BUILD_COMMAND" >&2

if [ ! -s _site/index.html ]; then
  echo "\"$BUILD_COMMAND\" left no _site/index.html in $PWD: nothing is uploaded" >&2
  exit 1
fi

mkdir -p "$(dirname "$MANIFEST")"
(cd _site && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) >"$MANIFEST.new"
mv "$MANIFEST.new" "$MANIFEST"
sha256sum <"$MANIFEST" | cut -c1-16
