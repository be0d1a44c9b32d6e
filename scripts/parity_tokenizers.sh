#!/usr/bin/env bash
# Compares weft-tokenize with the original libraries (sentencepiece, transformers, open_clip) on the texts of emoji13, of Unicode's
# normalisation test file and on 100,000 fuzzed strings. Exit 1 where any id differs.
# Usage: PYTHON=/path/to/python scripts/parity_tokenizers.sh [EMOJI13_FOLDER [FOLDER_OF_PROGRAMS]]
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
exec "${PYTHON:-python3}" "$here/tests/golden/make_tokenizers.py" parity "${2:-$here/build/bin}/weft-tokenize" ${1:+"$1"} 2>/dev/null
