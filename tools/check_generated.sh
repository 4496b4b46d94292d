#!/usr/bin/env bash
# Fails when gen/ is not what protos/ say.
# Usage: tools/check_generated.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp --directory)
trap 'rm -rf "$fresh"' EXIT
tools/generate.sh "$1" "$fresh"
if ! diff --recursive --brief --exclude __pycache__ gen "$fresh"; then
    echo "gen/ is out of date: run 'make gen' and commit what it changes." >&2
    exit 1
fi
