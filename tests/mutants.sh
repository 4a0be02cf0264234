#!/usr/bin/env bash
# Changes src/core, which decides everything and says what each answer of a service means, in every place by a little, and
# checks that its own tests notice.
#
#     tests/mutants.sh [OPTION]...      options are cargo-mutants' own, such as --list or --file src/plan.rs
#
# Not part of tests/run.sh: it takes about half an hour. The core uses nothing of the rest, so it is built as a package of its
# own: a mutant costs seconds. The result is in target/mutants/mutants.out.
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
