#!/usr/bin/env bash
# Cerbos refuses AuthZEN requests for members that AuthZEN wants ignored.
#
# Packages: @cerbos/cerbos-linux-x64 0.55.0 (npm: the server itself).
# Seen: a request that is allowed is 400 ("unknown field") with one more member at the top, or in the
#   subject. In `properties` and `context` anything goes.
# Not expected because: AuthZEN 1.0 has it that receivers MUST ignore members that they do not know, so
#   that PEPs can be newer than PDPs; its certification scenario (c-2-2-9), which people of Cerbos
#   write, tests just that.
# For users: a PEP that sends an extension gets no decision from Cerbos. Leave such members
#   out of what Cerbos is asked, or put them into the context.
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
import urllib.error
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
    request = {
        "subject": {"type": "agent", "id": "helper"},
        "action": {"name": "read"},
        "resource": {"type": "record", "id": "1"},
        "context": {"anything": 1},
    }

    def ask(value):
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/access/v1/evaluation",
            json.dumps(value).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    plain = ask(request)
    above = ask({**request, "future": 1})
    inside = ask({**request, "subject": {**request["subject"], "future": 1}})
    for what, (status, text) in (("plain", plain), ("above", above), ("inside", inside)):
        print(f"{what}: {status} {text}")
    if (plain[0], above[0], inside[0]) != (200, 400, 400):
        sys.exit("changed: other statuses")
finally:
    server.terminate()
    server.wait(30)
PY
