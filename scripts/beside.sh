# Sourced by scripts that run commands beside others:
#
#   beside COMMAND…   begins a command; what it says is kept
#   await N           waits for the Nth begun (from 0), says to standard error what it said and
#                     fails as it did
#
# What still runs when the script ends is ended, and the script's exit status stays what it was.

began=()
said=$(mktemp -d)

beside() {
  "$@" >"$said/${#began[@]}" 2>&1 </dev/null &
  began+=($!)
}

await() {
  local status=0
  wait "${began[$1]}" || status=$?
  cat "$said/$1" >&2
  return "$status"
}

end_what_runs() {
  local running
  running=$(jobs -pr)
  # What fails in a trap makes its status the script's, and kill without a process fails.
  [ -z "$running" ] || kill $running 2>/dev/null || true
  rm -rf "$said"
}
trap end_what_runs EXIT
