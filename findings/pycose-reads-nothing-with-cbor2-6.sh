#!/usr/bin/env bash
# pycose, as pip installs it, cannot read any COSE message, its own included, and blames the bytes.
#
# Packages: pycose 1.1.0, cbor2 6.3.0 and 5.9.0, cwt 3.3.0 (PyPI).
# Seen: pycose asks for cbor2 of any version, and gets 6.3.0. It signs and encodes a message as before, byte for byte;
#   Sign1Message.decode and CoseMessage.decode raise "TypeError: Bytes cannot be decoded as COSE message" for each, also
#   for RFC 9052's own example. Keys are read. With cbor2 5.9.0 all of it holds. Beside cwt, which holds
#   cbor2 below 6, pip installs 5.9.0, and pycose reads: it depends on what else is in the environment.
# Not expected because: pip finds nothing amiss, signing goes on, and the error says that the message is at fault:
#   since version 6 cbor2 reads an array within a tag as a tuple, and pycose asks for a list (its issue 141).
# For users: a verifier of receipts or signed statements refuses all of them after an install of today, as if
#   they were damaged. Pin cbor2 below 6 beside pycose, and verify a known message at the start.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/run.py" <<'PY'
import sys
from importlib.metadata import version

from pycose.algorithms import EdDSA
from pycose.headers import KID, Algorithm
from pycose.keys import CoseKey, OKPKey
from pycose.keys.curves import Ed25519
from pycose.messages import CoseMessage, Sign1Message

SECRET = bytes(range(32))
# Of RFC 9052, C.2.1: a single signature, ECDSA 256.
EXAMPLE = bytes.fromhex(
    "d28443a10126a10442313154546869732069732074686520636f6e74656e742e58408eb33e4ca31d1c465ab05aac34cc6b23d58fef5c"
    "083106c4d25a91aef0b0117e2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36"
)

key = OKPKey(crv=Ed25519, d=SECRET)
message = Sign1Message(phdr={Algorithm: EdDSA, KID: b"log"}, payload=b"a statement")
message.key = key
encoded = message.encode()


def read(decode, data):
    try:
        return f"reads {decode(data).payload.decode()!r}"
    except TypeError as error:
        return str(error)


print(f"cbor2 {version('cbor2')}: {encoded.hex()[:40]}…")
CoseKey.decode(key.encode())
for name, decode, data in (
    ("Sign1Message", Sign1Message.decode, encoded),
    ("CoseMessage", CoseMessage.decode, encoded),
    ("CoseMessage, of RFC 9052", CoseMessage.decode, EXAMPLE),
):
    seen = read(decode, data)
    print(f"  {name}: {seen}")
    if (seen == "Bytes cannot be decoded as COSE message") != (sys.argv[1] == "refuses"):
        sys.exit("changed")
with open(sys.argv[2], "ab") as file:
    file.write(encoded.hex().encode() + b"\n")
PY
# run EXPECTED PACKAGE... in an environment with these.
run() {
  python3 -m venv --clear "$folder/venv"
  "$folder/venv/bin/pip" install -q --disable-pip-version-check "${@:2}"
  "$folder/venv/bin/pip" check >/dev/null
  "$folder/venv/bin/python" "$folder/run.py" "$1" "$folder/encoded"
}
run refuses pycose==1.1.0 cbor2==6.3.0
run reads pycose==1.1.0 cbor2==5.9.0
run reads pycose==1.1.0 cwt==3.3.0
[ "$(sort -u "$folder/encoded" | wc -l)" = 1 ] || { echo "changed: other bytes are signed"; exit 1; }
