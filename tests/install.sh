# Sourced by tests/run.sh and examples/demo.sh: puts in place what the machine lacks, and says so first.

# Debian packages, with the command whose absence shows that they are missing.
install_packages() {
    local command=$1
    shift
    echo "== $command is missing: installing $* (Debian or Ubuntu packages)" >&2
    if ! command -v apt-get >/dev/null; then
        echo "There is no apt-get here; install $command by hand and run this again." >&2
        exit 1
    fi
    local root=()
    if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
    "${root[@]}" apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -yq --no-install-recommends "$@" >/dev/null
}

# Debian keeps the server's programs off the PATH.
has_postgresql_server() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

install_what_is_missing() {
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing: install it (https://rustup.rs) and run this again." >&2
        exit 1
    fi
    if ! command -v cc >/dev/null; then install_packages cc gcc libc6-dev; fi
    if ! has_postgresql_server; then install_packages 'a PostgreSQL server' postgresql; fi
}

# The server runs in a network namespace, whose loopback somebody has to switch on.
install_for_weaviate() {
    if ! command -v unshare >/dev/null || ! command -v nsenter >/dev/null; then install_packages 'unshare or nsenter' util-linux; fi
    if ! command -v ip >/dev/null; then install_packages ip iproute2; fi
}
