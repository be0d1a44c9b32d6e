#!/usr/bin/env bash
# Writes C that defines every symbol of a shared library as a weak function that refuses by its name, so that whatever
# the stand-in does not define itself still resolves. With no library there is nothing to write.
# Usage: make_stubs.sh LIBRARY|'' OUT.c
set -euo pipefail
library=$1 out=$2
{
  echo '__attribute__((noreturn)) void vgpu_refuse_call(const char* name);'
  if [[ -n $library ]]; then
    nm -D --defined-only "$library" | awk '$2 ~ /^[TW]$/ { sub(/@.*/, "", $3); print $3 }' | sort -u |
      grep -E '^(__)?cu[A-Za-z0-9_]+$' | sed 's/.*/__attribute__((weak)) void &(void) { vgpu_refuse_call("&"); }/'
  fi
} > "$out"
