#!/usr/bin/env bash
# A canonical form that the same library cannot make canonical again.
#
# Packages: rfc8785 0.1.4, jcs 0.2.1 (PyPI), canonicalize 4.0.0 (npm, where node is installed).
# Seen: rfc8785.dumps({"n": 1e20}) is {"n":100000000000000000000}, as RFC 8785 wants it (JavaScript
#   prints a double below 1e21 without an exponent). Read with Python's json that is an int, and
#   rfc8785 refuses it: IntegerDomainError, "exceeds safe integer domain". jcs and npm's canonicalize
#   return the same bytes again. For {"n": 9007199254740993} rfc8785 raises, the two others write
#   9007199254740992 and say nothing.
# Not expected because: canonicalization is expected to be idempotent, and the RFC defines the form
#   over doubles: every number that it writes is one that it accepts.
# For users: a verifier that parses a record, makes it canonical and compares the bytes (the usual
#   check of a signed decision) rejects honest records of another implementation, and of its own.
#   Compare or hash the stored bytes, and keep numbers beyond 2^53 out of records (as text).
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check rfc8785==0.1.4 jcs==0.2.1
"$folder/venv/bin/python" - <<'PY'
import json
import sys

import jcs
import rfc8785

first = rfc8785.dumps({"n": 1e20})
print("rfc8785 writes", first.decode())
if first != b'{"n":100000000000000000000}' or jcs.canonicalize(json.loads(first)) != first:
    sys.exit("changed: another canonical form of 1e20")
for text, rounded in ((first, first), (b'{"n":9007199254740993}', b'{"n":9007199254740992}')):
    try:
        rfc8785.dumps(json.loads(text))
        sys.exit(f"changed: rfc8785 takes {text.decode()}")
    except rfc8785.IntegerDomainError as error:
        print("rfc8785 on", text.decode(), "raises", error)
    if jcs.canonicalize(json.loads(text)) != rounded:
        sys.exit("changed: jcs writes another number")
PY
if command -v npm >/dev/null; then
  (cd "$folder" && npm init -y >/dev/null && npm install --silent --no-fund --no-audit canonicalize@4.0.0)
  cat >"$folder/again.mjs" <<'JS'
import canonicalize from 'canonicalize'
const cases = [
  ['{"n":100000000000000000000}', '{"n":100000000000000000000}'],
  ['{"n":9007199254740993}', '{"n":9007199254740992}'],
]
for (const [text, wanted] of cases) {
  const seen = canonicalize(JSON.parse(text))
  console.log('canonicalize on', text, 'writes', seen)
  if (seen !== wanted) { console.error('changed: expected', wanted); process.exit(1) }
}
JS
  node "$folder/again.mjs"
fi
