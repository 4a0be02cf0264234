#!/usr/bin/env bash
# Writes the bill of materials of the program, as CycloneDX 1.5: every package in it, with version, license and checksum.
#
#     tests/sbom.sh [FILE]      FILE is target/agira-worker.cdx.json by default
#
# Installs cargo-cyclonedx if it is missing.
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
# cargo-cyclonedx always writes its file beside Cargo.toml.
cargo cyclonedx --quiet --describe binaries --target "$(rustc -vV | sed -n 's/^host: //p')" --format json --spec-version 1.5
mkdir -p "$(dirname "$file")"
mv "$written" "$file"

# Checks that the file names every package that cargo links into the program.
cargo tree --locked --edges normal --prefix none --format '{p}' | sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1@\2/p' | sort -u |
    while IFS=@ read -r name version; do
        if ! grep -q "\"purl\": \"pkg:cargo/$name@$version" "$file"; then
            echo "$file does not name $name $version" >&2
            exit 1
        fi
    done
echo "$file: $(grep -c '"purl": "pkg:cargo/' "$file") packages"
