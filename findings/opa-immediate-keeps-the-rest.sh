#!/usr/bin/env bash
# OPA's decision log, told to upload immediately from its event buffer, keeps the last events back.
#
# Packages: github.com/open-policy-agent/opa v1.22.4 (Go module).
# Seen: decision_logs.reporting with "buffer_type": "event", "trigger": "immediate" and delays of one
#   second; 3,000 equal requests, then none. Full chunks are uploaded while the requests are made,
#   1,290 events in one run. The other 1,710 are not uploaded one, two or ten seconds later: they
#   come when OPA is stopped, or when later decisions fill the chunk. With "trigger": "periodic"
#   all 3,000 are uploaded within a second or two.
# Not expected because: the release notes of "immediate" say that events are pushed as soon as a chunk
#   is full, or, at latest, when the configured delay is reached; and so it is with fewer events than
#   fill a first chunk: only once a chunk was uploaded does the delay no longer count.
# For users: the newest decisions of a quiet hour are not in the log, and lost if OPA is killed. Use
#   "trigger": "periodic", which is the default, with short delays, or the size buffer.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go. Three minutes.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/open-policy-agent/opa@v1.22.4
cat >"$folder/authz.rego" <<'REGO'
package authz

allow if input.action == "read"
REGO
python3 - "$folder" <<'PY'
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


def run(trigger, asked):
    """Events that had come while OPA ran, ten seconds after the last decision, and at its end."""
    events.clear()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    reporting = {"buffer_type": "event", "trigger": trigger, "min_delay_seconds": 1, "max_delay_seconds": 1}
    configuration = {
        "services": {"sink": {"url": f"http://127.0.0.1:{sink.server_port}"}},
        "decision_logs": {"service": "sink", "reporting": reporting},
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
            connection.request("POST", "/v1/data/authz/allow", b'{"input": {"action": "read"}}')
            connection.getresponse().read()
        for _ in range(50):
            if len(events) >= asked:
                break
            time.sleep(0.2)
        running = len(events)
    finally:
        opa.terminate()
        opa.wait(30)
    print(f"{trigger}: asked {asked}; uploaded {running} within ten seconds, {len(events)} when OPA was stopped")
    return running, len(events)


few, many, periodic = run("immediate", 30), run("immediate", 3000), run("periodic", 3000)
if few != (30, 30) or periodic != (3000, 3000) or many[1] != 3000 or many[0] >= 3000:
    sys.exit("changed: events are no longer kept back")
PY
