#!/usr/bin/env bash
# Regenerates gen/ from protos/: Python stubs with types, and the descriptor set that Envoy transcodes with.
# Usage: tools/generate.sh PYTHON [OUTPUT_DIRECTORY]
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
out=${2:-gen}
bin=$(dirname "$python")
# googleapis-common-protos ships the google/*.proto files beside its Python modules.
google=$("$python" -c 'import google.rpc.status_pb2 as m, pathlib; print(pathlib.Path(m.__file__).parents[2])')
rm -rf "${out:?}/imagevariations"
mkdir -p "$out"
"$python" -m grpc_tools.protoc -I protos -I "$google" \
    --plugin="protoc-gen-mypy=$bin/protoc-gen-mypy" --plugin="protoc-gen-mypy_grpc=$bin/protoc-gen-mypy_grpc" \
    --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
    protos/imagevariations/v1/*.proto
# Envoy needs every import; error_details because google.rpc.Status carries those messages as Any.
"$python" -m grpc_tools.protoc -I protos -I "$google" --include_imports \
    --descriptor_set_out="$out/imagevariations.binpb" \
    protos/imagevariations/v1/*.proto google/rpc/error_details.proto google/rpc/status.proto
touch "$out/imagevariations/__init__.py" "$out/imagevariations/v1/__init__.py"
