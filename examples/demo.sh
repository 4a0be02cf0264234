#!/usr/bin/env bash
# Shows the main job as a story, on throwaway services: a PostgreSQL, a GitHub and a Weaviate. All are removed at the end.
# GitHub is a simulator. Weaviate is a real server if tests/weaviate.sh has built one before, and a simulator otherwise.
#
#     examples/demo.sh             shows the story
#     examples/demo.sh --picture   draws the story again into examples/demo.svg, the picture of README.md
#     examples/demo.sh --real      only makes a dry run, on the services that DATABASE_URL, GITHUB_TOKEN and WEAVIATE_URL name
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    '' | --picture) ;;
    --real)
        cargo build --quiet --locked --bin agira-worker
        exec target/debug/agira-worker sync --dry-run
        ;;
    *)
        echo "usage: examples/demo.sh [--picture | --real]" >&2
        exit 2
        ;;
esac

. tests/install.sh
install_what_is_missing
if [ "${1:-}" = --picture ]; then
    # The picture must be the same on every machine, so it always uses the simulator of Weaviate.
    export KIT_WEAVIATE=
    cargo build --quiet --locked --package agira-worker --bin agira-worker --example screenshot --package demo --example demo
    target/debug/examples/demo target/debug/agira-worker 2>/dev/null | target/debug/examples/screenshot >target/demo.svg
    mv target/demo.svg examples/demo.svg
    exit
fi
has_namespaces() { unshare --net true 2>/dev/null || unshare --user --map-root-user --net true 2>/dev/null; }
if [ -z "${KIT_WEAVIATE+given}" ] && has_namespaces && server=$(tests/weaviate.sh --cached 2>/dev/null); then
    install_for_weaviate
    export KIT_WEAVIATE=real AGIRA_WORKER_WEAVIATE_SERVER=$server
fi
echo "== building (one to two minutes on two cores the first time)" >&2
# Not the workspace: what only tests and benchmark need is not built. Nobody is about to edit the program, so each package is
# compiled as a whole, and nothing is kept for a faster second build.
export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_CODEGEN_UNITS=1
cargo build --locked --package agira-worker --bin agira-worker --package demo --example demo
exec target/debug/examples/demo target/debug/agira-worker
