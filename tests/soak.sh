#!/usr/bin/env bash
# Two hours compressed: 2,000 overlapping runs of the program as processes, with random faults, signals and people's edits.
# At the end everything is as in a world that nothing disturbed, and no connection, lock or file is left behind.
#
#     tests/soak.sh          2,000 runs
#     tests/soak.sh 200 7    200 runs with the seed 7
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh
install_what_is_missing

AGIRA_WORKER_SOAK=${1:-2000} AGIRA_WORKER_SEED=${2:-1} \
    cargo test --locked --test it -- --ignored --nocapture histories::soak
