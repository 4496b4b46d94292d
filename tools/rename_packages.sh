#!/usr/bin/env bash
# Gives the packages other names, everywhere: protos, gen/, clients/ and examples/.
# Usage: tools/rename_packages.sh GO_ROOT JAVA_ROOT NPM_SCOPE
#        tools/rename_packages.sh github.com/you/gateway io.github.you @you
# Run `make gen` afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/names.env
if [ $# != 3 ]; then
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
fi
replace() {
    # The roots are names with dots and slashes only; the dots are the one thing that sed would misread.
    git grep -lIzF "$1" | xargs -0 --no-run-if-empty sed -i "s|${1//./\\.}|$2|g"
}
replace "$GO_ROOT" "$1"
replace "$JAVA_ROOT" "$2"
replace "$NPM_SCOPE/" "$3/"
replace "NPM_SCOPE=$NPM_SCOPE" "NPM_SCOPE=$3"
