#!/usr/bin/env bash
# The Datalog code that a Biscuit is printed as says something else than the token, if a text has a \ or a ".
#
# Packages: biscuit-python 0.4.0 (PyPI), @biscuit-auth/biscuit-wasm 0.6.0 (npm, where node is installed).
# Seen: a token with right({path}) and a check of that path, for three texts. The token authorises a request for its
#   path each time. block_source gives its code, with the text as it is between the quotes. Of /srv/new a
#   token that is made of this code has the same right. Of C:\new the code reads "C:\new": it is accepted, and
#   is of a text with a line end, so the request is refused. Of C:\srv, and of 12" pipe, the code is a syntax error. In
#   JavaScript getBlockSource gives the same code.
# Not expected because: block_source is documented as the block's content as Datalog code, \\ and \" are how
#   Datalog writes these texts, and where code is read they are required.
# For users: this code is what a service logs, or shows to a person, of a token. The record then gives other rights
#   than the token, or none that can be read, and what is issued anew from it is another token. Keep the
#   token's own bytes beside the code, and compare these.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check biscuit-python==0.4.0
cat >main.py <<'PY'
import sys

from biscuit_auth import AuthorizationError, AuthorizerBuilder, BiscuitBuilder, DataLogError, KeyPair

key = KeyPair().private_key


def is_authorized(token, path):
    try:
        AuthorizerBuilder("path({path}); allow if right({path})", {"path": path}).build(token).authorize()
    except AuthorizationError:
        return False
    return True


for path, wanted in (("/srv/new", True), ("C:\\new", False), ("C:\\srv", "syntax error"), ('12" pipe', "syntax error")):
    token = BiscuitBuilder("right({path}); check if path({path})", {"path": path}).build(key)
    code = token.block_source(0)
    try:
        again = is_authorized(BiscuitBuilder(code).build(key), path)
    except DataLogError:
        again = "syntax error"
    print(f"{path}: authorised {is_authorized(token, path)}; made again from {code!r}: {again}")
    if not is_authorized(token, path) or again != wanted or f'right("{path}");' not in code:
        sys.exit(f"changed: expected {wanted}")
for path, code in (("C:\\new", r'right("C:\\new")'), ('12" pipe', r'right("12\" pipe")')):
    if not is_authorized(BiscuitBuilder(code + f"; check if {code.replace('right', 'path')}").build(key), path):
        sys.exit(f"changed: {code} is of another text")
PY
venv/bin/python main.py
if command -v npm >/dev/null; then
  npm init -y >/dev/null
  npm install --silent --no-audit --no-fund @biscuit-auth/biscuit-wasm@0.6.0
  cat >main.mjs <<'JS'
import { biscuit, KeyPair, SignatureAlgorithm } from '@biscuit-auth/biscuit-wasm'
const key = new KeyPair(SignatureAlgorithm.Ed25519).getPrivateKey()
for (const path of ['C:\\new', '12" pipe'])
  console.log(biscuit`right(${path})`.build(key).getBlockSource(0).trim())
JS
  seen=$(node --no-warnings --experimental-wasm-modules main.mjs | grep right)
  echo "JavaScript: $seen"
  [ "$seen" = $'right("C:\\new");\nright("12" pipe");' ] || { echo "changed: JavaScript writes it otherwise"; exit 1; }
fi
