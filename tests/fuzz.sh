#!/usr/bin/env bash
# Fuzzes the code that reads untrusted text, one target after the other.
#
#     tests/fuzz.sh [SECONDS]    seconds for each target (300)
#     tests/fuzz.sh --seeds      runs each case of tests/fuzz/seeds once, in an ordinary build
#
# Installs cargo-fuzz if it is missing. target/fuzz/failures gets the inputs that make a target fail. target/fuzz/corpus keeps the
# inputs that reached new code, for the next time.
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
    # There is no unsafe code, so a sanitizer would report nothing.
    cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build --sanitizer none "$target" \
        "$learnt" "tests/fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=20000 -timeout=20 -artifact_prefix="$failures/" -print_final_stats=1
done
