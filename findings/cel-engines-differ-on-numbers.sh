#!/usr/bin/env bash
# One CEL expression over one JSON context: true, true, and an error, depending on the Python package.
#
# Packages: cel-python 0.5.0, common-expression-language 0.10.0, cel-expr-python 0.1.3 (all PyPI).
# Seen, with {"amount": 5}:
#     context.amount > 4.5   True in two, "found no matching overload" in cel-python
#     4.5 < context.amount   True in all three, cel-python included
#   and with {"amount": 5.0}: string(context.amount) is "5" in two and "5.0" in cel-python;
#   with {"name": "Zoë"}: size(context.name) is 3 in two and 4 in common-expression-language (bytes).
# Not expected because: CEL's specification compares numbers of different types by value and counts
#   code points; and nobody expects `a > b` to fail where `b < a` holds.
# For users: AuthZEN's MCP binding maps a tool call's arguments to an authorization request by CEL. A
#   JSON writer is free to send 5 or 5.0, so the same call is decided in one enforcement point and a
#   mapping error (denied, -32602) in another, and the decision logs of the two differ in their text.
#   Log the mapped request, not only the call, and write `double(x)` around every number compared.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check \
  cel-python==0.5.0 common-expression-language==0.10.0 cel-expr-python==0.1.3
"$folder/venv/bin/python" - <<'PY'
import sys

import cel
import celpy
from cel_expr_python import cel as google


def ask_celpy(expression, context):
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return program.evaluate({"context": celpy.json_to_cel(context)})


def ask_rust(expression, context):
    return cel.evaluate(expression, {"context": context})


def ask_google(expression, context):
    environment = google.NewEnv(variables={"context": google.Type.DYN})
    return environment.compile(expression).eval(data={"context": context}).value()


def ask(engine, expression, context):
    try:
        value = engine(expression, context)
    except Exception as error:
        return type(error).__name__
    return str(value) if isinstance(value, str) else repr(bool(value)) if type(value).__name__ in ("bool", "BoolType") else int(value)


engines = (ask_celpy, ask_rust, ask_google)
expected = [
    ("context.amount > 4.5", {"amount": 5}, ["CELEvalError", "True", "True"]),
    ("4.5 < context.amount", {"amount": 5}, ["True", "True", "True"]),
    ("double(context.amount) > 4.5", {"amount": 5}, ["True", "True", "True"]),
    ("string(context.amount)", {"amount": 5.0}, ["5.0", "5", "5"]),
    ("size(context.name)", {"name": "Zo\u00eb"}, [3, 4, 3]),
]
for expression, context, wanted in expected:
    seen = [ask(engine, expression, context) for engine in engines]
    print(expression, ascii(context), seen)
    if seen != wanted:
        sys.exit(f"changed: expected {wanted}")
PY
