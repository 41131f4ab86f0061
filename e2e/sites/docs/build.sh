#!/bin/sh
# The manual lives at /manual/ of its host, beside a page that says so. Nothing is deployed
# with a broken link.
set -eu
rm -rf _site
jekyll build --quiet --destination _site/manual
cp landing.html _site/index.html
ruby tools/check_links.rb _site
