#!/usr/bin/env bash
# The same Rego policy and the same input: allowed by one engine, denied by the other, with no error.
#
# Packages: opa v1.22.4 (Go module), regopy 1.5.2 (PyPI: Microsoft's rego-cpp).
# Seen, with `default allow := false`: OPA allows and regopy denies each of these. `input.amount > 1000` with
#   the text "5000" (OPA has numbers before texts); `semver.compare(input.version, "2.0.0") < 0` with
#   "2.0.0-rc.1"; an object.union that has to unite members of members (regopy's has the second one's only);
#   and `net.cidr_contains("10.0.0.0/8", input.ip)` with an address of it.
#   And asked for data.access.allow itself, regopy answers `undefined`, with no expression, for false.
# Not expected because: regopy says that it supports Rego v1.18.1 "as defined by OPA", and runs OPA's tests. It
#   does list `net.*` as not planned, but loads and runs a policy with it, where OPA refuses a function that
#   it does not know.
# For users: a decision log that names the policy and its digest does not yet say what was decided by. Log the
#   engine and its version too, test a policy with the engine that will run it, and replay with no other.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/open-policy-agent/opa@v1.22.4
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check regopy==1.5.2
"$folder/venv/bin/python" - "$folder" <<'PY'
import json
import subprocess
import sys

from regopy import Interpreter

folder = sys.argv[1]
HEAD = "package access\n\nimport rego.v1\n\ndefault allow := false\n\nallow if "
CASES = (  # the rule, the input, OPA's decision, regopy's decision
    ("input.amount < 1000", {"amount": 500}, True, True),
    ("input.amount > 1000", {"amount": "5000"}, True, False),
    ('semver.compare(input.version, "2.0.0") < 0', {"version": "2.0.0-rc.1"}, True, False),
    ('net.cidr_contains("10.0.0.0/8", input.ip)', {"ip": "10.1.2.3"}, True, False),
    ('object.union({"may": {"read": true}}, input).may.read', {"may": {"write": True}}, True, False),
)


def ask_opa(policy, value):
    with open(f"{folder}/policy.rego", "w") as file:
        file.write(policy)
    command = [f"{folder}/opa", "eval", "--stdin-input", "--data", f"{folder}/policy.rego", "data.access.allow"]
    ran = subprocess.run(command, input=json.dumps(value), capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)["result"][0]["expressions"][0]["value"]


def ask_regopy(policy, value):
    engine = Interpreter()
    engine.add_module("policy.rego", policy)
    engine.set_input(value)
    plain = str(engine.query("data.access.allow"))
    decision = json.loads(str(engine.query("decision := data.access.allow")))["bindings"]["decision"]
    if plain != ('{"expressions":[true]}' if decision else "undefined"):
        sys.exit(f"changed: asked for the rule itself, regopy answers {plain}")
    return decision


for rule, value, opa, regopy in CASES:
    policy = f"{HEAD}{rule}\n"
    seen = ask_opa(policy, value), ask_regopy(policy, value)
    print(f"{rule} with {value}: OPA {seen[0]}, regopy {seen[1]}")
    if seen != (opa, regopy):
        sys.exit(f"changed: expected OPA {opa}, regopy {regopy}")
PY
