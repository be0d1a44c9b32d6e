#!/usr/bin/env bash
# Runs every command of docs/virtual-gpu.md and compares what it prints with what the page shows.
# Usage: vgpu_guide_test.sh BUILD/bin [--write]    --write: puts the output into the page instead
set -uo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
WEFT_BUILD=$(cd "$1/.." && pwd)
export WEFT_BUILD PATH=$PATH:$here/scripts
if [[ ! -e $WEFT_BUILD/vgpu/libcudart.so.13 ]] || ! command -v nvcc >/dev/null; then
  echo "SKIPPED: nvcc was not found"
  exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 - "$here/docs/virtual-gpu.md" "${2:-}" <<'PY'
import re, subprocess, sys

page_path, mode = sys.argv[1:]
page = open(page_path).read()
failures = 0

def normal(text):  # addresses differ from run to run
    return re.sub(r"0x[0-9a-f]{6,}", "0x7f0000000000", text)

def block(match):
    global failures
    kind, body = match.group(1), match.group(2)
    if kind.startswith("cpp "):
        open(kind[4:], "w").write(body)
    if kind != "console":
        return match.group(0)
    shown = []
    for part in re.split(r"(?m)^\$ ", body)[1:]:
        command = part.split("\n", 1)[0]
        run = subprocess.run(["bash", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        text = run.stdout.replace(subprocess.os.getcwd(), "/home/you")
        shown.append("$ " + command + "\n" + text)
    result = "".join(shown)
    if mode != "--write" and normal(result) != normal(body):
        failures += 1
        print("the page shows:\n" + body + "\nbut running it gives:\n" + result, file=sys.stderr)
    return "```console\n" + result + "```"

written = re.sub(r"(?ms)^```([^\n]+)\n(.*?)^```$", block, page)
if mode == "--write":
    open(page_path, "w").write(written)
sys.exit(1 if failures else 0)
PY
