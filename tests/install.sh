# Installs what the machine lacks, and prints that first. Other scripts source this file.

# Installs Debian packages. The first argument is the command that is missing without them.
install_packages() {
    local command=$1
    shift
    echo "== $command is missing: installing $* (Debian or Ubuntu packages)" >&2
    if ! command -v apt-get >/dev/null; then
        echo "There is no apt-get on this machine. Install $command by hand, and run this again." >&2
        exit 1
    fi
    local root=()
    if [ "$(id -u)" -ne 0 ]; then root=(sudo); fi
    "${root[@]}" apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -yq --no-install-recommends "$@" >/dev/null
}

# On Debian, the programs of the server are not on the PATH.
has_postgresql_server() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

install_what_is_missing() {
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing. Install it (https://rustup.rs), and run this again." >&2
        exit 1
    fi
    if ! command -v cc >/dev/null; then install_packages cc gcc libc6-dev; fi
    if ! has_postgresql_server; then install_packages 'a PostgreSQL server' postgresql; fi
}

# The server runs in a network namespace. `ip` brings up the loopback interface there.
install_for_weaviate() {
    if ! command -v unshare >/dev/null || ! command -v nsenter >/dev/null; then install_packages 'unshare or nsenter' util-linux; fi
    if ! command -v ip >/dev/null; then install_packages ip iproute2; fi
}
