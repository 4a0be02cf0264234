#!/usr/bin/env bash
# Builds the Debian package, checks it with lintian, and then installs, upgrades, removes and purges it in a minimal Debian.
# Needs root, because it makes the Debian with debootstrap and enters it. Installs missing tools.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/install.sh
if [ "$(id -u)" -ne 0 ]; then
    echo "tests/package.sh installs a package in a Debian of its own, for which it needs root; run it as root" >&2
    exit 1
fi
install_what_is_missing
command -v lintian >/dev/null || install_packages lintian lintian
debian=$(fetch_debian)
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
tar --extract --file "$debian" --directory "$root"
chmod 755 "$root"
package=$(examples/package/build.sh --dev)
echo "$package"
lintian --allow-root --fail-on error "$package"
cp "$package" "$root/first.deb"
newer=$(cargo deb --quiet --no-build --locked --profile dev --deb-version 99.0.0-1)
mv "$newer" "$root/newer.deb"
AGIRA_WORKER_DEBIAN=$root cargo test --locked --test it -- --ignored deployment::package
