#!/usr/bin/env bash
# Runs the demo and all tests in a minimal Debian 12 that has nothing but Rust, as somebody does who starts with a new machine.
#
#     tests/bare.sh               examples/demo.sh, and then tests/run.sh
#     tests/bare.sh COMMAND...    only this command, in the top folder of a copy of the checkout
#
# Needs root, debootstrap (installed if it is missing), and 15 GB of disk. The minimal Debian shares the network of this machine.
# The environment variable BARE_USER=1 runs the command as a user who is not root and has no sudo.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh
if [ "$(id -u)" -ne 0 ]; then
    echo "tests/bare.sh makes and enters a Debian of its own, for which it needs root; run it as root" >&2
    exit 1
fi
command -v setpriv >/dev/null || install_packages 'unshare or setpriv' util-linux
debian=$(fetch_debian)
sysroot=$(rustc --print sysroot)

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
tar --extract --file "$debian" --directory "$root"
chmod 755 "$root"
cp /etc/resolv.conf "$root/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
mkdir -p "$root/opt/rust" "$root/home/agira-worker"
cp -a "$sysroot/." "$root/opt/rust"
tar --create --exclude=./target --exclude=./tests/fuzz/target --exclude=./.git . | tar --extract --directory "$root/home/agira-worker"
chroot "$root" useradd --home-dir /home --no-create-home newcomer
if [ -n "${BARE_USER:-}" ]; then chown -R --no-dereference 1000:1000 "$root/home"; fi

# Everything that is mounted or started ends with the namespaces, and these end with this script.
enter() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child bash -c '
        root=$1 user=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        cd /
        exec chroot ${user:+--userspec="$user"} "$root" /usr/bin/env -i HOME=/home PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
            bash -c "cd /home/agira-worker && exec \"\$@\"" bash "$@"' bash "$root" "${BARE_USER:+1000:1000}" "$@"
}
if [ $# -gt 0 ]; then
    enter "$@"
else
    enter examples/demo.sh
    enter tests/run.sh
fi
