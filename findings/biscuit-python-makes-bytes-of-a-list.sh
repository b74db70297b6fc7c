#!/usr/bin/env bash
# A list that is put into a Biscuit token is an array if a number in it is above 255, else a byte string.
#
# Packages: biscuit-python 0.4.0 (PyPI).
# Seen: `accounts({ids})` with ids = [7, 300] is `accounts([7, 300])` in the token, and a verifier's `$ids.contains(7)`
#   allows. With [7, 12], with the tuple (7, 12) and with range(7, 13) it is a byte string (`hex:070c`), and the same
#   authorizer ends in "Datalog execution failure: Invalid type". So are the empty list and [True, False], as
#   `hex:` and `hex:0100`. The set {7, 12} stays one.
# Not expected because: biscuit-python's table of types gives lists of integers as byte strings, knows no arrays, and
#   says nothing of the values, on which it depends: the larger numbers work as a list, so no test shows that the
#   smaller ones will not. Nothing is raised where the token is made, and it is signed as it is.
# For users: a token for accounts of four digits works in every test, and the one for account 12 is refused, by
#   verifiers in any language. Give a set, or write the list into the Datalog text, and look at
#   `block_source` before a token is handed out. Log such a refusal as one that could not be evaluated.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check biscuit-python==0.4.0
"$folder/venv/bin/python" - <<'PY'
import sys

from biscuit_auth import AuthorizationError, AuthorizerBuilder, Biscuit, BiscuitBuilder, KeyPair

TYPE = "Invalid type"
CASES = (  # the ids, what the token has of them, what the verifier says
    ([7, 300], "[7, 300]", "allowed"),
    ([7, 12], "hex:070c", TYPE),
    ((7, 12), "hex:070c", TYPE),
    (range(7, 13), "hex:0708090a0b0c", TYPE),
    ([], "hex:", TYPE),
    ([True, False], "hex:0100", TYPE),
    ({7, 12}, "{7, 12}", "allowed"),
)

key = KeyPair()


def verify(token):
    authorizer = AuthorizerBuilder("allow if accounts($ids), $ids.contains(7)")
    try:
        authorizer.build(Biscuit.from_base64(token, key.public_key)).authorize()
    except AuthorizationError as error:
        return TYPE if TYPE in str(error) else str(error)
    return "allowed"


for ids, text, expected in CASES:
    token = BiscuitBuilder("accounts({ids})", {"ids": ids}).build(key.private_key)
    written, said = token.block_source(0).strip(), verify(token.to_base64())
    print(f"{ids!r}: {written} {said}")
    if (written, said) != (f"accounts({text});", expected):
        sys.exit(f"changed: expected {text} and {expected}")
literal = BiscuitBuilder("accounts([7, 12])").build(key.private_key)
print("as Datalog text:", literal.block_source(0).strip(), verify(literal.to_base64()))
if verify(literal.to_base64()) != "allowed":
    sys.exit("changed: a list in the text is refused too")
PY
