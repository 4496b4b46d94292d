#!/usr/bin/env bash
# Lints protos/ and holds them to the last release: nothing that clients send, or read in JSON, may change its meaning.
# Usage: tools/lint_protos.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
buf=$(dirname "$1")/buf
"$buf" format --diff --exit-code protos
"$buf" lint
"$buf" breaking protos --against protos/released.binpb
