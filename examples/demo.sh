#!/usr/bin/env bash
# The main job as a story, on throwaway services: a PostgreSQL, a GitHub and a Weaviate that disappear again.
#
#     examples/demo.sh          the story
#     examples/demo.sh --real   only a dry run, against what DATABASE_URL, GITHUB_TOKEN and WEAVIATE_URL name
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    '') ;;
    --real)
        cargo build --quiet --locked --bin agira-worker
        exec target/debug/agira-worker sync --dry-run
        ;;
    *)
        echo "usage: examples/demo.sh [--real]" >&2
        exit 2
        ;;
esac

. tests/install.sh
install_what_is_missing
echo "== building (a few minutes the first time)" >&2
cargo build --quiet --locked --bin agira-worker --example demo
exec target/debug/examples/demo target/debug/agira-worker
