#!/usr/bin/env bash
# 10, 10.0 and 1e1 are one number for a Rego policy, until it makes a text of them.
#
# Package: github.com/open-policy-agent/opa v1.22.4 (Go module).
# Seen: 10, 10.0 and 1e1 in an input are equal, and each finds the member 10 of an object. `sprintf("order-%d", …)` of
#   them is order-10, order-%!d(float64=10) and order-%!d(float64=10); `json.marshal` is 10, 10.0 and 1e1, and so the
#   digests of the three differ. Where a function of the policy calls `json.marshal`, all three have the text of the
#   one that was asked first: its answers are kept by value. `sprintf("%v")` and `format_int` have 10 for
#   each, and so has `sprintf("%d")` once 0 was added. Nothing is an error, with `--strict-builtin-errors` neither.
# Not expected because: OPA compares by value, and what is equal is expected to have one text; a verb that does not fit
#   is expected to be an error and not a part of the text; and a function's result not to depend on earlier calls.
# For users: a grant that is looked up as "order-10" is found for a client in Go, and not for one in Python that had the
#   number as a float; a digest made in the policy tells such requests apart, or not, by the order of its rules.
#   Make such texts with `%v`, and digest the request outside of the policy, in a canonical form.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/open-policy-agent/opa@v1.22.4 2>/dev/null
cat >"$folder/policy.rego" <<'REGO'
package orders

grants := {"order-10": "helper"}

members := {10: "found"}

texts := {
	"equal": [input.a == input.b, input.b == input.c],
	"member": [members[number] | some number in input.order],
	"allowed": [read(sprintf("order-%d", [number])) | some number in input.order],
	"%d": [sprintf("order-%d", [number]) | some number in input.order],
	"%d, with 0 added": [sprintf("order-%d", [number + 0]) | some number in input.order],
	"%v": [sprintf("order-%v", [number]) | some number in input.order],
	"format_int": [format_int(number, 10) | some number in input.order],
	"json.marshal": [json.marshal(number) | some number in input.order],
	"digest": [substring(crypto.sha256(json.marshal(number)), 0, 8) | some number in input.order],
	"json.marshal in a function": [marshal(number) | some number in input.order],
}

read(order) := object.get(grants, order, "nobody") == "helper"

marshal(number) := json.marshal(number)
REGO
evaluate() { # the order
  echo "{\"a\": 10, \"b\": 10.0, \"c\": 1e1, \"order\": [$1]}" >"$folder/input.json"
  "$folder/opa" eval --strict-builtin-errors --format raw --data "$folder/policy.rego" \
    --input "$folder/input.json" data.orders.texts
}
evaluate "10, 10.0, 1e1" >"$folder/forward.json"
evaluate "1e1, 10.0, 10" >"$folder/backward.json"
python3 - "$folder" <<'PY'
import json
import sys

seen, backward = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("forward", "backward"))
for name, found in seen.items():
    print(f"{name}:", *map(json.dumps, found))
marshal = "json.marshal in a function"
print(f"{marshal}, 1e1 asked first:", *map(json.dumps, backward[marshal]))
wrong = "order-%!d(float64=10)"
expected = {
    "equal": [True] * 2,
    "member": ["found"] * 3,
    "allowed": [True, False, False],
    "%d": ["order-10", wrong, wrong],
    "%d, with 0 added": ["order-10"] * 3,
    "%v": ["order-10"] * 3,
    "format_int": ["10"] * 3,
    "json.marshal": ["10", "10.0", "1e1"],
    marshal: ["10"] * 3,
}
for name, wanted in expected.items():
    if seen[name] != wanted:
        sys.exit(f"changed: {name}: expected {wanted}")
if len(set(seen["digest"])) != 3 or backward[marshal] != ["1e1"] * 3:
    sys.exit("changed: other digests, or another text from the function")
PY
