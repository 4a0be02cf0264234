#!/usr/bin/env bash
# Checks licences, sources and known weaknesses of all packages.
#
#     tests/supply-chain.sh
#
# Needs cargo-deny (cargo install --locked cargo-deny); the list of known weaknesses comes from GitHub.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo 'cargo-deny is missing: cargo install --locked cargo-deny' >&2
    exit 1
fi
deny() { cargo deny --locked --config tests/deny.toml check --hide-inclusion-graph "$@"; }

deny licenses bans sources
if ! cargo deny --locked --config tests/deny.toml fetch db; then
    echo 'NOT TESTED: known weaknesses (the list cannot be fetched from GitHub)'
    exit 0
fi
deny --disable-fetch advisories
