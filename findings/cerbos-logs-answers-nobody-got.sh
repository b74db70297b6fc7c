#!/usr/bin/env bash
# Cerbos' decision log holds decisions that it never gave.
#
# Packages: @cerbos/cerbos-linux-x64 0.55.0 (npm: the server itself).
# Seen: an AuthZEN batch of three evaluations, the first denied, with `deny_on_first_deny`: the answer
#   has one evaluation, `false`, as the specification wants it. The decision log has all three, with
#   EFFECT_ALLOW for the two that were not answered, and nothing in the entry tells them apart.
# Not expected because: the option reads as "stop at the first denial", and a decision log is read as
#   what the decision point has said.
# For users: a review of the log finds "allowed" for accesses that no enforcement point was allowed,
#   counts them in statistics, and cannot match them with outcomes. Log at the enforcement point or in
#   a proxy between the two, from the answer, and do not ask for batches with this option otherwise.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3, npm, Linux on x86-64.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v npm >/dev/null || { echo "skipped: npm is not installed"; exit 77; }
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "skipped: the package is for Linux x86_64"; exit 77; }
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
    - actions: ["read"]
      effect: EFFECT_ALLOW
      roles: ["agent"]
YAML
python3 - "$folder" <<'PY'
import json
import socket
import subprocess
import sys
import time
import urllib.request

folder = sys.argv[1]


def find_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


port = find_port()
configuration = {
    "server": {"httpListenAddr": f"127.0.0.1:{port}", "grpcListenAddr": f"127.0.0.1:{find_port()}"},
    "storage": {"driver": "disk", "disk": {"directory": f"{folder}/policies"}},
    "audit": {
        "enabled": True,
        "backend": "file",
        "accessLogsEnabled": False,
        "decisionLogsEnabled": True,
        "file": {"path": f"{folder}/decisions.jsonl"},
    },
    "telemetry": {"disabled": True},
}
with open(f"{folder}/cerbos.yaml", "w") as file:
    json.dump(configuration, file)  # JSON is YAML.
program = f"{folder}/node_modules/@cerbos/cerbos-linux-x64/cerbos-linux-x64"
server = subprocess.Popen(
    [program, "server", "--config", f"{folder}/cerbos.yaml", "--log-level", "error"], stdout=subprocess.DEVNULL
)
try:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    batch = {
        "subject": {"type": "agent", "id": "helper", "properties": {"roles": ["agent"]}},
        "evaluations": [
            {"action": {"name": action}, "resource": {"type": "record", "id": number}}
            for action, number in (("write", "1"), ("read", "2"), ("read", "3"))
        ],
        "options": {"evaluations_semantic": "deny_on_first_deny"},
    }
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/access/v1/evaluations",
        json.dumps(batch).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        answered = [item["decision"] for item in json.load(answer)["evaluations"]]
    for _ in range(100):
        with open(f"{folder}/decisions.jsonl") as file:
            lines = file.read().splitlines()
        if lines:
            break
        time.sleep(0.2)
    outputs = json.loads(lines[0])["checkResources"]["outputs"]
    logged = [action["effect"] for item in outputs for action in item["actions"].values()]
    print("answered:", answered, "- logged:", logged)
    if answered != [False] or logged != ["EFFECT_DENY", "EFFECT_ALLOW", "EFFECT_ALLOW"]:
        sys.exit("changed: the log holds other decisions")
finally:
    server.terminate()
    server.wait(30)
PY
