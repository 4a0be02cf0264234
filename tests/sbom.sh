#!/usr/bin/env bash
# Writes the bill of materials of the program: every package in it, with version, licence and checksum, as CycloneDX 1.5.
#
#     tests/sbom.sh [FILE]      FILE: target/agira-worker.cdx.json unless it is given
#
# Installs cargo-cyclonedx where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly cyclonedx=cargo-cyclonedx@0.5.9
readonly written=agira-worker_bin.cdx.json
file=${1:-target/agira-worker.cdx.json}

if ! cargo cyclonedx --version >/dev/null 2>&1; then
    echo "== cargo-cyclonedx is missing: installing $cyclonedx" >&2
    cargo install --quiet --locked "$cyclonedx"
fi
trap 'rm -f "$written"' EXIT
# It knows no other place than beside Cargo.toml.
cargo cyclonedx --quiet --describe binaries --target "$(rustc -vV | sed -n 's/^host: //p')" --format json --spec-version 1.5
mkdir -p "$(dirname "$file")"
mv "$written" "$file"

# What is linked into the program, by cargo's own account.
cargo tree --locked --edges normal --prefix none --format '{p}' | sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1@\2/p' | sort -u |
    while IFS=@ read -r name version; do
        if ! grep -q "\"purl\": \"pkg:cargo/$name@$version" "$file"; then
            echo "$file does not name $name $version" >&2
            exit 1
        fi
    done
echo "$file: $(grep -c '"purl": "pkg:cargo/' "$file") packages"
