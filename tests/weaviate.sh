#!/usr/bin/env bash
# Prints the path of a Weaviate server for tests and demo. If there is no server, the script builds one with Go, which takes some
# minutes the first time.
#
#     tests/weaviate.sh            finds or builds it
#     tests/weaviate.sh --cached   only finds it; fails without a message if there is none
set -euo pipefail

# The newest release that the Go module proxy could serve with all its dependencies. Raise it when there is a newer one.
readonly version=1.39.3
readonly cache="${XDG_CACHE_HOME:-$HOME/.cache}/agira-worker/weaviate-$version"

for named in "${AGIRA_WORKER_WEAVIATE_SERVER:-}" weaviate-server weaviate "$cache/weaviate-server"; do
    if [ -n "$named" ] && found=$(command -v "$named"); then
        echo "$found"
        exit
    fi
    if [ -n "$named" ] && [ "$named" = "${AGIRA_WORKER_WEAVIATE_SERVER:-}" ]; then
        echo "AGIRA_WORKER_WEAVIATE_SERVER names $named, which is not a program" >&2
        exit 1
    fi
done
if [ "${1:-}" = --cached ]; then exit 1; fi

if ! command -v go >/dev/null; then
    cat >&2 <<END
There is no Weaviate server to test against. Do one of these:
  - install Go (https://go.dev/dl), so that Weaviate $version can be built;
  - put a weaviate-server on the PATH, or name it in AGIRA_WORKER_WEAVIATE_SERVER;
  - skip these tests: tests/run.sh --without-weaviate
END
    exit 1
fi
echo "== building Weaviate $version with Go into $cache (once, takes some minutes)" >&2
mkdir -p "$cache"
building=$(mktemp -d "$cache/building.XXXXXX")
trap 'rm -rf "$building"' EXIT
if ! GOBIN="$building" go install "github.com/weaviate/weaviate/cmd/weaviate-server@v$version" >&2; then
    echo "Weaviate $version could not be built; to skip these tests, use tests/run.sh --without-weaviate" >&2
    exit 1
fi
# The move is atomic, so an interrupted build is never taken for a server.
mv "$building/weaviate-server" "$cache/weaviate-server"
echo "$cache/weaviate-server"
