#!/usr/bin/env bash
# The canonical CBOR of Python's cbor2 is not the core deterministic CBOR of RFC 8949, and others' is.
#
# Packages: cbor2 6.2.1, 5.9.0 (PyPI), github.com/fxamacker/cbor/v2 v2.9.2 (Go module), cbor2 2.3.0 (npm).
# Seen: the map {10: 0, 100: 0, -1: 0}. dumps(..., canonical=True) has -1 before 100, in both versions:
#   a30a002000186400, shorter keys first, as RFC 7049 had it. Go's CoreDetEncOptions and the npm package's
#   cdeEncodeOptions have 100 before -1: a30a001864002000, by the bytes, as RFC 8949 has it since
#   2020. Of texts only, and of numbers below 24 only, the bytes are the same in all.
# Not expected because: cbor2 says that it implements RFC 8949, where the old order is an alternative for old
#   protocols (4.2.3); it has no other deterministic form, and the option's description names no order.
#   Integers of one and two bytes beside negative ones are ordinary as labels of COSE and CWT.
# For users: a digest or signature over a map made anew (claims, a key's parameters, a receipt's header) does
#   not hold at the other end, for some maps only. Keep the bytes that were signed; for a form of your own
#   sort the keys by their encoding, and encode that dict, without floats in it, without `canonical`.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, Go, npm or Node.
set -euo pipefail
for program in python3 go npm; do
  command -v $program >/dev/null || { echo "skipped: $program is not installed"; exit 77; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GOTOOLCHAIN=auto GOFLAGS=
cd "$folder"
cat >main.py <<'PY'
import sys

import cbor2

texts = {"z": 0, "aa": 1}
print(cbor2.dumps({10: 0, 100: 0, -1: 0}, canonical=True).hex(), cbor2.dumps(texts, canonical=True).hex())
by_bytes = dict(sorted({10: 0, 100: 0, -1: 0}.items(), key=lambda item: cbor2.dumps(item[0])))
if cbor2.dumps(by_bytes).hex() != "a30a001864002000":
    sys.exit("changed: a dict is not encoded in its own order")
PY
cat >main.mjs <<'JS'
import { cdeEncodeOptions, encode } from "cbor2";

const hex = (map) => Buffer.from(encode(map, cdeEncodeOptions)).toString("hex");
console.log(hex(new Map([[10, 0], [100, 0], [-1, 0]])), hex(new Map([["z", 0], ["aa", 1]])));
JS
cat >main.go <<'GO'
package main

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

func main() {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	for _, one := range []map[any]any{{10: 0, 100: 0, -1: 0}, {"z": 0, "aa": 1}} {
		encoded, err := mode.Marshal(one)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%x ", encoded)
	}
	fmt.Println()
}
GO
for version in 5.9.0 6.2.1; do
  python3 -m venv "$version"
  "$version/bin/pip" install -q --disable-pip-version-check "cbor2==$version"
done
npm init -y >/dev/null
npm install --silent --no-audit --no-fund cbor2@2.3.0
go mod init example/map 2>/dev/null
go get github.com/fxamacker/cbor/v2@v2.9.2 2>/dev/null

# see WHAT ORDERED COMMAND...: prints what a command encodes, and fails where it is not ORDERED.
see() {
  local what=$1 ordered=$2 seen
  shift 2
  seen=$("$@")
  echo "$what: $seen"
  if [ "${seen% }" != "$ordered a2617a0062616101" ]; then
    echo "changed: expected $ordered a2617a0062616101"
    exit 1
  fi
}
see "cbor2 5.9.0 (PyPI)" a30a002000186400 5.9.0/bin/python main.py
see "cbor2 6.2.1 (PyPI)" a30a002000186400 6.2.1/bin/python main.py
see "cbor2 2.3.0 (npm)" a30a001864002000 node main.mjs
see "fxamacker/cbor (Go)" a30a001864002000 go run .
