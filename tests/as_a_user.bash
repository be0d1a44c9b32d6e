# For tests that run programs as a user would, sourced after `set`: a folder that goes at the end, fail, and expect.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
# expect CODE TEXT COMMAND...: the exit code, and one line on stderr that holds TEXT
expect() {
  local code=$1 text=$2 got=0
  shift 2
  "$@" >"$folder/stdout" 2>"$folder/stderr" || got=$?
  [[ $got == "$code" ]] || fail "$*: exit code $got, expected $code: $(cat "$folder/stderr")"
  [[ $(wc -l <"$folder/stderr") == 1 ]] || fail "$*: more than one line: $(cat "$folder/stderr")"
  grep -qF -- "$text" "$folder/stderr" || fail "$*: \"$text\" expected, found: $(cat "$folder/stderr")"
}
# wait_until_catching PID: until a program in the background has taken over Ctrl-C. Before that the shell has it ignored,
# and before the program takes the shell's place, the shell catches SIGINT, but not SIGTERM.
wait_until_catching() {
  local caught
  for ((i = 0; i < 1200; ++i)); do
    caught=$(sed -n 's/^SigCgt:\s*/0x/p' "/proc/$1/status" 2>/dev/null) || fail "process $1 ended at once"
    [[ -z $caught ]] || (((caught & 0x4002) != 0x4002)) || return 0
    sleep 0.05
  done
  fail "process $1 does not catch SIGINT and SIGTERM"
}
