#!/usr/bin/env bash
# Makes small changes everywhere in src/core, and checks that the unit tests of src/core detect each one.
#
#     tests/mutants.sh [OPTION]...      options are cargo-mutants' own, such as --list or --file src/plan/table.rs
#
# This is not part of tests/run.sh, because it takes about half an hour. The core imports nothing from the rest of src, so it is
# built as a separate package, and a mutant takes only seconds. The result is in target/mutants/mutants.out.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo mutants --version >/dev/null 2>&1; then
    echo '== cargo-mutants is missing: installing it' >&2
    cargo install --locked cargo-mutants
fi

readonly package=target/mutants/core
mkdir -p "$package"
rm -rf "$package/src"
cp -r src/core "$package/src"
cp Cargo.lock "$package"
{
    printf '[package]\nname = "agira-worker-core"\nedition = "2024"\n[lib]\npath = "src/mod.rs"\n[workspace]\n[dependencies]\n'
    grep -E '^(chrono|regex|serde|serde_json|uuid) = ' Cargo.toml
} >"$package/Cargo.toml"
cargo mutants --dir "$package" --output target/mutants --config tests/mutants.toml "$@"
