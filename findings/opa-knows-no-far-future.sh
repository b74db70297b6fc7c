#!/usr/bin/env bash
# A grant until 9999-12-31 is over for OPA, and one that ends in a year is not.
#
# Package: github.com/open-policy-agent/opa v1.22.4 (Go module).
# Seen: a policy that allows while `time.now_ns() < time.parse_rfc3339_ns(input.until)`. Until 2262-04-11T00:00:00Z it
#   allows; until 2262-04-12T00:00:00Z, 2300-01-01T00:00:00Z and 9999-12-31T23:59:59Z it denies: the time is undefined,
#   since nanoseconds of then do not fit 64 bits, and so is the comparison. The answer and its status are those of
#   any denial; only `--strict-builtin-errors` of the command has "time outside of valid range".
# Not expected because: Rego's numbers have no limit (2**70 is one in the same policy), RFC 3339 has years to 9999, and
#   9999-12-31 is the usual way to write "does not expire".
# For users: standing permissions are denied, and neither the answer nor the decision log says why. Test for the
#   far future before the time is parsed, write rules that name each reason for a denial, and have
#   grants without an end leave `until` out.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without Go.
set -euo pipefail
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/open-policy-agent/opa@v1.22.4 2>/dev/null
cat >"$folder/policy.rego" <<'REGO'
package grants

default allow := false

allow if time.now_ns() < time.parse_rfc3339_ns(input.until)

large := bits.lsh(1, 70)
REGO
evaluate() { # until, further options
  echo "{\"until\": \"$1\"}" |
    "$folder/opa" eval --format raw --data "$folder/policy.rego" --stdin-input "${@:2}" data.grants.allow 2>&1 || true
}
for case in 2262-04-11:true 2262-04-12:false 2300-01-01:false 9999-12-31:false; do
  day=${case%:*} wanted=${case#*:}
  seen=$(evaluate "${day}T00:00:00Z")
  echo "until $day: $seen"
  [ "$seen" = "$wanted" ] || { echo "changed: expected $wanted"; exit 1; }
done
seen=$(evaluate 9999-12-31T23:59:59Z --strict-builtin-errors | grep -o "time outside of valid range" | head -n 1)
echo "with --strict-builtin-errors: $seen"
[ -n "$seen" ] || { echo "changed: another error"; exit 1; }
seen=$("$folder/opa" eval --format raw --data "$folder/policy.rego" data.grants.large)
echo "2**70: $seen"
[ "$seen" = 1180591620717411303424 ] || { echo "changed: numbers are limited"; exit 1; }
