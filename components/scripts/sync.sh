# Brings the bucket to the state of the build: the files below site/, and at the
# end, when all of them are there, the list by which servers check them. Prints
# the release.
#
# Environment: as in build.sh, and BUCKET, REGION, BUILD (the text of build.sh).
set -euo pipefail

MANIFEST=$(realpath --canonicalize-missing "$MANIFEST")
# The build is from another machine or another time when this is a new checkout
# and only the sync is to be repeated.
if ! (cd _site && sha256sum --check --quiet --strict "$MANIFEST") >&2 2>/dev/null; then
  bash -c "$BUILD" >/dev/null
fi

# rclone cannot use the AWS SDK's setting, but has one of its own for the same.
if [ -n "${AWS_CA_BUNDLE:-}" ]; then
  export RCLONE_CA_CERT="${RCLONE_CA_CERT:-$AWS_CA_BUNDLE}"
  unset AWS_CA_BUNDLE
fi

# Another S3 store than AWS's is named by rclone's own settings in the environment.
export RCLONE_S3_PROVIDER="${RCLONE_S3_PROVIDER:-AWS}"
# All settings are here or in the environment: no configuration file is read.
export RCLONE_CONFIG=""
remote=":s3,env_auth=true,region=$REGION,no_check_bucket=true:$BUCKET"
# Compared by hash; what is gone from the build is deleted last, and not at all
# after an error.
rclone sync --checksum --fast-list --delete-after --stats-one-line --stats-log-level NOTICE --stats 0 _site "$remote/site"
rclone copyto --checksum --header-upload "Content-Type: text/plain; charset=utf-8" "$MANIFEST" "$remote/SHA256SUMS"
sha256sum <"$MANIFEST" | cut -c1-16
