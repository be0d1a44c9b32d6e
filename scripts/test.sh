#!/usr/bin/env bash
# Builds weft and runs every test. Installs the Debian packages that are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/build.sh
ctest --test-dir build --output-on-failure
