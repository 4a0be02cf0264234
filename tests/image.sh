#!/usr/bin/env bash
# Builds the image of examples/container/Containerfile with buildah, and runs the program and its manual page in it. The build takes
# ten minutes or more. Needs root.
#
# If the registries of the base images cannot be reached, a minimal Debian with the Rust of this machine takes their place.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh
if [ "$(id -u)" -ne 0 ]; then
    echo "tests/image.sh makes images and enters them, for which it needs root; run it as root" >&2
    exit 1
fi
command -v buildah >/dev/null || install_packages buildah buildah
readonly image=localhost/agira-worker-of-tests

bases=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' examples/container/Containerfile)
made=()
working=''
clean_up() {
    if [ -n "$working" ]; then buildah rm "$working" >/dev/null; fi
    for name in "$image" "${made[@]}"; do buildah rmi "$name" >/dev/null 2>&1 || true; done
}
trap clean_up EXIT

# Makes a base image from a minimal Debian.
stand_in() {
    local name=$1 root
    working=$(buildah from scratch)
    root=$(buildah mount "$working")
    tar --extract --file "$(fetch_debian)" --directory "$root"
    cp /etc/resolv.conf "$root/etc/"
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    if [[ $name = */rust:* ]]; then
        chroot "$root" sh -c 'apt-get -qq update && apt-get -yqq install --no-install-recommends gcc libc6-dev' >/dev/null 2>&1
        cp -a "$(rustc --print sysroot)/." "$root/usr/local/"
    fi
    buildah umount "$working" >/dev/null
    buildah commit --quiet "$working" "$name" >/dev/null
    buildah rm "$working" >/dev/null
    working=''
    made+=("$name")
}

for base in $bases; do
    if ! buildah pull --quiet "$base" >/dev/null 2>&1; then
        echo "== $base cannot be pulled: a minimal Debian takes its place" >&2
        stand_in "$base"
    fi
done
echo '== building the image' >&2
buildah build --isolation chroot --pull-never --file examples/container/Containerfile --tag "$image" .

working=$(buildah from --pull-never "$image")
echo '== running the program in the image' >&2
buildah run --isolation chroot "$working" -- agira-worker --version
for file in bin/agira-worker share/man/man1/agira-worker-sync.1 share/agira-worker/sql/worker.sql share/agira-worker/sql/role.sql; do
    if [ ! -s "$(buildah mount "$working")/usr/local/$file" ]; then
        echo "the image lacks /usr/local/$file" >&2
        exit 1
    fi
done
