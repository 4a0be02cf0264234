#!/usr/bin/env bash
# Builds the Debian package into target/debian, and prints its path.
#
#     examples/package/build.sh         the package for installing
#     examples/package/build.sh --dev   the same with a fast, unoptimized build, for tests
#
# Installs cargo-deb if it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
readonly cargo_deb=cargo-deb@3.8.0
readonly staged=target/package

profile=release
case "${1:-}" in
    '') ;;
    --dev) profile=dev ;;
    *)
        echo "usage: examples/package/build.sh [--dev]" >&2
        exit 2
        ;;
esac

. tests/install.sh
install_compilers
if ! cargo deb --version >/dev/null 2>&1; then
    echo "== cargo-deb is missing: installing $cargo_deb (some minutes, once)" >&2
    cargo install --quiet --locked "$cargo_deb"
fi

cargo build --quiet --locked --profile "$profile" --package agira-worker --bin agira-worker --example manual
folder=$profile
if [ "$profile" = dev ]; then folder=debug; fi
rm -rf "$staged"
mkdir -p "$staged"
"target/$folder/examples/manual" "$staged"
# A package puts its program into /usr/bin. How the units are copied and started by hand does not concern it.
for unit in service timer; do
    sed 's|/usr/local/bin/|/usr/bin/|; 1,/^\[Unit\]/{/^#/d}' "examples/systemd/agira-worker.$unit" >"$staged/agira-worker.$unit"
done
cargo deb --quiet --no-build --locked --profile "$profile"
