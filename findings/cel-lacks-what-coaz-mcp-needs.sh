#!/usr/bin/env bash
# No CEL of Python's evaluates the default mappings of the MCP binding of AuthZEN.
#
# Packages: common-expression-language 0.10.0, cel-python 0.5.0 (PyPI).
# Seen: the AuthZEN COAZ-MCP binding (draft 1) writes its default mappings with optional selection,
#   as in $token.?client_id, and says that an enforcement point must have it. Both libraries refuse
#   such an expression when they read it: ValueError "unsupported syntax '.?'" and CELParseError.
#   common-expression-language also reads an integer beyond 64 bits as a float: 2**70 given as a
#   variable comes back as 1.1805916207174113e+21.
# Not expected because: a mapping that a standard gives as the default should be one that the
#   language's libraries evaluate; and CEL's int has 64 bits, beyond which its specification wants an
#   error.
# For users: a gate that hands x-authzen-mapping to one of these has to do optional selection itself,
#   and has to keep numbers beyond 64 bits away from it: the policy would decide on another number
#   than the tool gets.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  common-expression-language==0.10.0 cel-python==0.5.0
"$folder/venv/bin/python" - <<'PY'
import sys

import cel
import celpy

MAPPING = "token.?client_id"
try:
    cel.compile(MAPPING)
    sys.exit("changed: common-expression-language reads optional selection")
except ValueError as error:
    print("common-expression-language on", MAPPING, "raises ValueError:", str(error).splitlines()[0])
try:
    celpy.Environment().compile(MAPPING)
    sys.exit("changed: cel-python reads optional selection")
except celpy.CELParseError as error:
    print("cel-python on", MAPPING, "raises CELParseError:", str(error).splitlines()[0][:70])
found = cel.evaluate("params.a", {"params": {"a": 2**70}})
print("common-expression-language on 2**70 gives", repr(found))
if not isinstance(found, float) or found != float(2**70):
    sys.exit("changed: another answer on an integer beyond 64 bits")
PY
