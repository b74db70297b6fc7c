#!/usr/bin/env bash
# In OPA's decision log each filter that it has compiled has the empty text as its decision_id.
#
# Package: github.com/open-policy-agent/opa v1.22.4 (Go module).
# Seen: one rule, asked for a decision by the Data API, and by /v1/compile for the SQL filters of three users. The
#   decision's event has a decision_id, which is in its answer too. The events of the three filters have "", and
#   their answers have none. Their `path` is the decision's, and their `result` {"query": "WHERE …"}: of the user who
#   may see everything {"query": ""}, and for the one who may see nothing there is no `result`, as of a rule that is
#   undefined. Only `custom.type` tells them from decisions.
# Not expected because: OPA's documentation of the log calls decision_id the unique identifier of each decision, and
#   says that the answers of a server that logs decisions have it.
# For users: who keeps events by their id, or takes a second one with it for a repetition (OPA uploads again what was
#   not acknowledged), keeps one filter of all; and nothing in the answer leads to the event of what somebody was
#   shown. Go by the digest of the event where the id is empty, and read `custom.type` before `result`.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or Go.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v go >/dev/null || { echo "skipped: Go is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
GOTOOLCHAIN=auto GOFLAGS= GOBIN="$folder" go install github.com/open-policy-agent/opa@v1.22.4 2>/dev/null
cd "$folder"
cat >rules.rego <<'REGO'
package docs

visible if input.user == "chief"
visible if {
	input.user == "ann"
	input.docs.owner == input.user
}
REGO
python3 - <<'PY'
import gzip
import http.server
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request

events = []


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        events.extend(json.loads(gzip.decompress(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
threading.Thread(target=sink.serve_forever, daemon=True).start()
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{probe.getsockname()[1]}"
settings = (f"services.sink.url=http://127.0.0.1:{sink.server_port}", "decision_logs.service=sink")
command = ["./opa", "run", "--server", "--addr", base.removeprefix("http://"), "rules.rego"]
for setting in settings:
    command += ["--set", setting]
server = subprocess.Popen(command, stderr=subprocess.DEVNULL)


def ask(path, value, accept="application/json"):
    headers = {"Content-Type": "application/json", "Accept": accept}
    asked = urllib.request.Request(base + path, json.dumps(value).encode(), headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read())


try:
    for _ in range(300):
        try:
            urllib.request.urlopen(base + "/health", timeout=30).close()
            break
        except OSError:
            time.sleep(0.2)
    decision = ask("/v1/data/docs/visible", {"input": {"user": "ann", "docs": {"owner": "ann"}}})
    answers = []
    for user in ("ann", "chief", "joe"):
        filter_ = {"input": {"user": user}, "unknowns": ["input.docs"]}
        answers.append(ask("/v1/compile/docs/visible", filter_, "application/vnd.opa.sql.postgresql+json"))
finally:
    server.terminate()  # which uploads what it has
    server.wait(60)
sink.shutdown()
for event in events:
    told = {name: event.get(name, "(absent)") for name in ("decision_id", "path", "input", "result")}
    print(json.dumps(told), event.get("custom", {}).get("type", ""))
first, *filters = events
if first["decision_id"] != decision["decision_id"] or not first["decision_id"]:
    sys.exit("changed: the decision's id is not the answer's")
if [event["decision_id"] for event in filters] != ["", "", ""] or any("decision_id" in one for one in answers):
    sys.exit("changed: a filter has an id")
if {event["path"] for event in events} != {"docs/visible"}:
    sys.exit("changed: the paths differ")
wanted = [{"query": "WHERE docs.owner = E'ann'"}, {"query": ""}, None]
if [event.get("result") for event in filters] != wanted or [one.get("result") for one in answers] != wanted:
    sys.exit(f"changed: expected the results {wanted}")
if {event["custom"]["type"] for event in filters} != {"open-policy-agent/compile"} or "custom" in first:
    sys.exit("changed: custom.type does not tell them apart")
PY
