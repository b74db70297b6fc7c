#!/usr/bin/env bash
# OPA's decision log uploads another integer than the one that was decided on, for some of the events.
#
# Packages: github.com/open-policy-agent/opa v1.22.4 (Go module).
# Seen: 3,000 equal requests with the input {"account": 9007199254740993}; upload limit and buffer as
#   they are by default. The policy sees 9007199254740993 and answers with it. Of the uploaded events
#   some have "input": {"account": 9007199254740993} and some 9007199254740992, always whole stretches
#   of them: OPA fills a chunk by a guess of how well it will compress, and where it guessed too high
#   it takes the chunk apart and packs it anew, reading its numbers as doubles on the way. `result`
#   changes in the same events. Nothing is logged, and few requests never show it.
# Not expected because: OPA itself keeps numbers exact to any number of digits, and what is logged
#   for one and the same request should not hang on how many others there were.
# For users: a digest of the input taken at the sink is not the digest of what was decided on; joins
#   of decisions and outcomes by a 64-bit id lose rows at load only; time.now_ns() in a result (19
#   digits) is rounded as well. Send ids as text, and take evidence in front of OPA, not from its log.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go. Three minutes.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/open-policy-agent/opa@v1.22.4
cat >"$folder/authz.rego" <<'REGO'
package authz

decision := {"allow": input.account == 9007199254740993, "account": input.account}
REGO
python3 - "$folder" <<'PY'
import collections
import gzip
import http.client
import http.server
import json
import socket
import subprocess
import sys
import threading
import time

folder = sys.argv[1]
asked = 3000
events = []


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        events.extend(json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *ignored):
        pass


sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
threading.Thread(target=sink.serve_forever, daemon=True).start()
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
configuration = {
    "services": {"sink": {"url": f"http://127.0.0.1:{sink.server_port}"}},
    "decision_logs": {"service": "sink", "reporting": {"min_delay_seconds": 1, "max_delay_seconds": 2}},
}
with open(f"{folder}/opa.json", "w") as file:
    json.dump(configuration, file)
opa = subprocess.Popen(
    [f"{folder}/opa", "run", "--server", "--addr", f"127.0.0.1:{port}", "--skip-version-check"]
    + ["--config-file", f"{folder}/opa.json", "--log-level", "error", f"{folder}/authz.rego"],
    stderr=subprocess.DEVNULL,
)
try:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(asked):
        connection.request("POST", "/v1/data/authz/decision", b'{"input": {"account": 9007199254740993}}')
        result = json.loads(connection.getresponse().read())["result"]
        if result != {"allow": True, "account": 9007199254740993}:
            sys.exit("changed: the policy itself sees another number")
    for _ in range(300):
        if len(events) >= asked:
            break
        time.sleep(0.2)
finally:
    opa.terminate()
    opa.wait(30)
logged = collections.Counter((event["input"]["account"], event["result"]["account"]) for event in events)
print("asked", asked, "times with 9007199254740993; uploaded (input, result):", dict(logged))
exact, rounded = logged[(2**53 + 1,) * 2], logged[(2**53,) * 2]
if exact + rounded != asked or not exact or not rounded:
    sys.exit("changed: the log no longer mixes exact and rounded integers")
PY
