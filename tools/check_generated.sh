#!/usr/bin/env bash
# Fails when gen/ is not what protos/ say. What a missing toolchain cannot generate is passed over, and said so.
# Usage: tools/check_generated.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp --directory)
trap 'rm -rf "$fresh"' EXIT
tools/generate.sh "$1" "$fresh"
differs=0
for made in gen/python gen/imagevariations.binpb gen/go/imagevariations gen/ts/{imagevariations,google} gen/openapi; do
    if [ -e "$fresh/$made" ] && ! diff --recursive --brief --exclude __pycache__ "$made" "$fresh/$made"; then
        differs=1
    fi
done
for made in "$fresh"/protos/testdata/*; do
    cmp "$made" "protos/testdata/$(basename "$made")" || differs=1
done
if [ "$differs" = 1 ]; then
    echo "gen/ is out of date: run 'make gen' and commit what it changes." >&2
    exit 1
fi
