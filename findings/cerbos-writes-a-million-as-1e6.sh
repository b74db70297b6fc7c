#!/usr/bin/env bash
# A Cerbos rule that compares a numeric id with a text allows account 999999, and denies 1000000.
#
# Packages: @cerbos/cerbos-linux-x64 0.55.0 (npm; Linux on x86-64).
# Seen: with `R.id == string(P.attr.account)` the agent of account 999999 may read record "999999". The one of
#   account 1000000 may not read record "1000000": the text is "1e+06", and "1.234567e+06" of 1234567, as every number
#   of a request is a double. There is no error, the decision is a denial like any other, and `cerbos
#   compile` passes. `R.id == string(int(P.attr.account))` allows all three. A rule with `P.attr.account % 2 == 0`
#   never holds, for the same reason, and a condition that fails is one that does not hold: nothing says so.
# Not expected because: the request has the digits 1000000, `P.attr.account == 1000000` holds, and what turns numbers
#   to texts is expected to do it alike for small and for large ones; tests with ids like 1 and 42 pass.
# For users: access ends for the millionth account, and the log shows denials by a policy that means to allow. Send ids
#   as texts, or put int(…) around numbers in a rule; replay the denials of a log against the rule as it is meant.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 on another machine or without python3 or Node.js.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v npm >/dev/null || { echo "skipped: Node.js is not installed"; exit 77; }
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "skipped: Cerbos' package is for Linux on x86-64"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm init -y >/dev/null &&
  npm install --silent --no-fund --no-audit @cerbos/cerbos-linux-x64@0.55.0)
mkdir "$folder/policies"
cat >"$folder/policies/record.yaml" <<'YAML'
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: record
  version: default
  rules:
    - {actions: ["read"], effect: EFFECT_ALLOW, roles: ["agent"],
       condition: {match: {expr: "R.id == string(P.attr.account)"}}}
    - {actions: ["read-int"], effect: EFFECT_ALLOW, roles: ["agent"],
       condition: {match: {expr: "R.id == string(int(P.attr.account))"}}}
    - {actions: ["read-equal"], effect: EFFECT_ALLOW, roles: ["agent"],
       condition: {match: {expr: "P.attr.account == int(R.id)"}}}
    - {actions: ["read-even"], effect: EFFECT_ALLOW, roles: ["agent"],
       condition: {match: {expr: "P.attr.account % 2 == 0"}}}
  # What the first rule compares, for this script to see.
    - {actions: ["text"], effect: EFFECT_ALLOW, roles: ["agent"],
       output: {when: {ruleActivated: "string(P.attr.account)"}}}
YAML
program="$folder/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"
"$program" compile "$folder/policies" >/dev/null
python3 - "$folder" "$program" <<'PY'
import json
import socket
import subprocess
import sys
import time
import urllib.request

folder, program = sys.argv[1:]
ACTIONS = ("read", "read-int", "read-equal", "read-even", "text")
CASES = (  # the account, its text, whether it may read, read-int, read-equal, read-even
    (42, "42", [True, True, True, False]),
    (999999, "999999", [True, True, True, False]),
    (1000000, "1e+06", [False, True, True, False]),
    (1234567, "1.234567e+06", [False, True, True, False]),
)


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port = find_port()
configuration = {
    "server": {"httpListenAddr": f"127.0.0.1:{port}", "grpcListenAddr": f"127.0.0.1:{find_port()}"},
    "storage": {"driver": "disk", "disk": {"directory": f"{folder}/policies"}},
    "telemetry": {"disabled": True},
}
with open(f"{folder}/cerbos.yaml", "w") as file:
    json.dump(configuration, file)  # JSON is YAML.
server = subprocess.Popen(
    [program, "server", "--config", f"{folder}/cerbos.yaml", "--log-level", "error"], stdout=subprocess.DEVNULL
)


def ask(account):
    """Returns the decisions of the rules, and the text of the account."""
    question = {
        "principal": {"id": "helper", "roles": ["agent"], "attr": {"account": account}},
        "resources": [{"actions": ACTIONS, "resource": {"kind": "record", "id": str(account)}}],
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/check/resources",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        [result] = json.load(answer)["results"]
    allowed = [result["actions"][action] == "EFFECT_ALLOW" for action in ACTIONS]
    return result["outputs"][0]["val"], allowed[:-1]


try:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    for account, *expected in CASES:
        seen = [*ask(account)]
        print(f"account {account}: string() {seen[0]!r},", dict(zip(ACTIONS, seen[1])))
        if seen != expected:
            sys.exit(f"changed: expected {expected}")
finally:
    server.terminate()
    server.wait(30)
PY
