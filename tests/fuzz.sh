#!/usr/bin/env bash
# Fuzzes what reads the text of others, one target after the other.
#
#     tests/fuzz.sh [SECONDS]    for each target; 300 unless told
#     tests/fuzz.sh --seeds      each case of tests/fuzz/seeds once, in an ordinary build
#
# Installs cargo-fuzz when it is missing. What makes a target fail stands in target/fuzz/failures; what it learnt stays
# in target/fuzz/corpus for the next time.
set -euo pipefail
cd "$(dirname "$0")/.."

. tests/install.sh

readonly targets=(github weaviate text) seconds=${1:-300}
if ! [[ $seconds =~ ^[0-9]+$ || $seconds == --seeds ]]; then
    echo 'usage: tests/fuzz.sh [SECONDS|--seeds]' >&2
    exit 2
fi
if ! command -v c++ >/dev/null; then install_packages c++ g++; fi
if [ "$seconds" = --seeds ]; then
    for target in "${targets[@]}"; do
        cargo run --quiet --locked --manifest-path tests/fuzz/Cargo.toml --target-dir target --bin "$target" -- \
            "tests/fuzz/seeds/$target"/*
    done
    exit
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo '== cargo-fuzz is missing: installing it' >&2
    cargo install --locked cargo-fuzz
fi
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    learnt=target/fuzz/corpus/$target failures=target/fuzz/failures/$target
    mkdir -p "$learnt" "$failures"
    # There is no unsafe code that a sanitizer could say something about.
    cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build --sanitizer none "$target" \
        "$learnt" "tests/fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=20000 -timeout=20 -artifact_prefix="$failures/" -print_final_stats=1
done
