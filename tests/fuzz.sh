#!/usr/bin/env bash
# Fuzzes what reads the text of others, one target after the other.
#
#     tests/fuzz.sh [SECONDS]    for each target; 300 unless told
#
# Installs cargo-fuzz when it is missing. What makes a target fail stands in target/fuzz/failures; what it learnt stays
# in target/fuzz/corpus for the next time.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly seconds=${1:-300}
if ! [[ $seconds =~ ^[0-9]+$ ]]; then
    echo 'usage: tests/fuzz.sh [SECONDS]' >&2
    exit 2
fi
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo '== cargo-fuzz is missing: installing it' >&2
    cargo install --locked cargo-fuzz
fi
for target in github weaviate text; do
    echo "== $target, $seconds s"
    learnt=target/fuzz/corpus/$target failures=target/fuzz/failures/$target
    mkdir -p "$learnt" "$failures"
    # There is no unsafe code that a sanitizer could say something about.
    cargo fuzz run --fuzz-dir tests/fuzz --target-dir target/fuzz/build --sanitizer none "$target" \
        "$learnt" "tests/fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -max_len=20000 -timeout=20 -artifact_prefix="$failures/" -print_final_stats=1
done
