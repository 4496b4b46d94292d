#!/usr/bin/env bash
# Regenerates gen/ from protos/: stubs for Python, Go and TypeScript, and the descriptor set that Envoy transcodes with.
# Generators are installed into .tools/ once; after that nothing is fetched. What needs Go or Node is left as it is where
# there is none, and said so. (Java's stubs are made by Maven, Rust's by cargo: see gen/java and clients/rust.)
# Usage: tools/generate.sh PYTHON [ANOTHER_ROOT_TO_WRITE_TO]
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/versions.env
python=$1
root=$(cd "${2:-.}" && pwd)
out=$root/gen
bin=$(cd "$(dirname "$python")" && pwd)
buf=$bin/buf

python_stubs() {
    local tools=.tools/grpcio-tools-$GRPCIO_TOOLS
    if [ ! -d "$tools" ]; then
        "$python" -m pip --disable-pip-version-check install --quiet --no-deps --target "$tools.new" "grpcio-tools==$GRPCIO_TOOLS"
        mv "$tools.new" "$tools"
    fi
    rm -rf "$out/python"
    mkdir -p "$out/python"
    PYTHONPATH=$tools "$python" -m grpc_tools.protoc -I protos -I third_party/googleapis \
        --plugin="protoc-gen-mypy=$bin/protoc-gen-mypy" --plugin="protoc-gen-mypy_grpc=$bin/protoc-gen-mypy_grpc" \
        --python_out="$out/python" --grpc_python_out="$out/python" \
        --mypy_out=quiet:"$out/python" --mypy_grpc_out=quiet:"$out/python" \
        protos/imagevariations/v1/*.proto
    touch "$out"/python/imagevariations/{__init__.py,py.typed} "$out/python/imagevariations/v1/__init__.py"
}

go_stubs() {
    local tools=$PWD/.tools/go-$PROTOC_GEN_GO-$PROTOC_GEN_GO_GRPC
    if [ ! -x "$tools/protoc-gen-go-grpc" ]; then
        GOBIN=$tools go install "google.golang.org/protobuf/cmd/protoc-gen-go@$PROTOC_GEN_GO"
        GOBIN=$tools go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$PROTOC_GEN_GO_GRPC"
    fi
    rm -rf "$out/go/imagevariations"
    PATH=$tools:$PATH "$buf" generate protos --template tools/buf.gen.go.yaml --output "$out"
}

typescript_stubs() {
    local tools=$PWD/.tools/protoc-gen-es-$PROTOC_GEN_ES
    if [ ! -x "$tools/node_modules/.bin/protoc-gen-es" ]; then
        npm install --silent --no-audit --no-fund --no-save --prefix "$tools" "@bufbuild/protoc-gen-es@$PROTOC_GEN_ES"
    fi
    rm -rf "$out/ts/imagevariations" "$out/ts/google"
    PATH=$tools/node_modules/.bin:$PATH "$buf" generate --template tools/buf.gen.ts.yaml --output "$out"
}

testdata() {
    PYTHONPATH=$out/python "$python" tools/make_testdata.py "$root/protos/testdata"
}

descriptor_set() {
    # With every import, and with the messages that google.rpc.Status carries as Any.
    "$buf" build --as-file-descriptor-set --exclude-source-info --output "$out/imagevariations.binpb"
}

openapi() {
    local comments
    comments=$(mktemp --suffix .binpb)
    "$buf" build --as-file-descriptor-set --output "$comments"
    PYTHONPATH=$out/python "$python" -m tools.make_openapi "$comments" protos/openapi.yaml "$out/openapi"
    rm "$comments"
}

# Where continuous integration runs, a toolchain that is missing is a mistake.
with() {
    if command -v "$1" >/dev/null; then
        "$3"
    elif [ -n "${CI:-}" ]; then
        echo "$2 cannot be generated: $1 is not installed." >&2
        exit 1
    else
        echo "$2 is not generated, nor checked: $1 is not installed." >&2
    fi
}

python_stubs
testdata
descriptor_set
openapi
with go gen/go go_stubs
with npm gen/ts typescript_stubs
