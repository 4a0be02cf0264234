#!/usr/bin/env bash
# Checks licenses, sources and known vulnerabilities of all packages.
#
#     tests/supply-chain.sh
#
# Needs cargo-deny (cargo install --locked cargo-deny); the list of known vulnerabilities comes from GitHub.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo deny --version >/dev/null 2>&1; then
    echo 'cargo-deny is missing: cargo install --locked cargo-deny' >&2
    exit 1
fi
deny() { cargo deny --locked --config tests/deny.toml check --hide-inclusion-graph "$@"; }

deny licenses bans sources
if ! cargo deny --locked --config tests/deny.toml fetch db; then
    echo 'NOT TESTED: known vulnerabilities (the list cannot be fetched from GitHub)'
    exit 0
fi
deny --disable-fetch advisories
