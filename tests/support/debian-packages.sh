#!/bin/sh
# Installs the Debian packages that some tests need, where that can be done: as root, with apt. Elsewhere those tests
# say why they are skipped.
names=$(cat "$(dirname "$0")/debian-packages.txt")
missing=
for name in $names; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q "install ok installed" || missing="$missing $name"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, so their tests are skipped:$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of names
{ apt-get update -qq && apt-get install -qq -y --no-install-recommends $missing; } >/dev/null 2>&1 ||
    echo "could not be installed, so their tests are skipped:$missing" >&2
