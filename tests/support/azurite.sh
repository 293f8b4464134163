#!/bin/sh
# Installs Azurite, Microsoft's own stand-in for Azure's blob storage, into the virtual environment, where npm is there.
# Elsewhere the tests that need it say why they are skipped.
folder=${1:-.venv}/azurite
[ ! -x "$folder/node_modules/.bin/azurite-blob" ] || exit 0
if ! command -v npm >/dev/null 2>&1; then
    echo "npm is not installed, so the tests that need Azurite are skipped" >&2
    exit 0
fi
npm install --no-audit --no-fund --no-package-lock --ignore-scripts --loglevel=error --prefix "$folder" \
    azurite@3.37.0 >/dev/null 2>&1 ||
    echo "Azurite could not be installed, so its tests are skipped" >&2
