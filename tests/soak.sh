#!/usr/bin/env bash
# Starts 2,000 overlapping processes of the program, with random faults, signals and edits by people. At the end, the state must
# equal that of an undisturbed world, and no connection, lock or file may be left behind.
#
#     tests/soak.sh          2,000 runs
#     tests/soak.sh 200 7    200 runs with seed 7
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh
install_what_is_missing

AGIRA_WORKER_SOAK=${1:-2000} AGIRA_WORKER_SEED=${2:-1} \
    cargo test --locked --test it -- --ignored --nocapture histories::soak
