#!/usr/bin/env bash
# Lints protos/ with buf, offline: buf reads a descriptor set, which holds the imports too.
# Usage: tools/lint_protos.sh PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
google=$("$python" -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
image=$(mktemp --suffix .binpb)
trap 'rm -f "$image"' EXIT
# Source info carries the comments, and with them the signed exceptions.
"$python" -m grpc_tools.protoc -I protos -I "$google" --include_imports --include_source_info \
    --descriptor_set_out="$image" protos/imagevariations/v1/*.proto
"$(dirname "$python")/buf" lint "$image" --config buf.yaml
