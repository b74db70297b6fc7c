#!/usr/bin/env bash
# A conditional write that won is reported as lost: obstore repeats it and meets its own object.
#
# Packages: obstore 0.12.1 (PyPI; object_store 0.14.2 inside).
# Seen: a store keeps the object, and its answer is lost (a 503 from something in between, or a cut
#   connection). With the default retry settings obstore sends the same conditional PUT again and
#   raises the store's answer to the repetition: `put(mode="create")` raises AlreadyExistsError and
#   `put(mode={"e_tag": ...})` raises PreconditionError, while the object holds the caller's bytes.
# Not expected because: the errors say that somebody else was first. A compare-and-swap is not
#   repeatable, and a client that repeats it by itself cannot tell the second answer from a lost race.
# For users: a log that takes its checkpoint as lost after such an error steps down, or publishes a
#   second one, after a write that counts. Read the object back and compare it before believing the
#   error, or set `retry_config={"max_retries": 0}` and decide about each attempt.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check obstore==0.12.1
"$folder/venv/bin/python" - <<'PY'
import http.server
import sys
import threading

from obstore.store import S3Store

objects = {}
requests = []
lose = None  # How the answer to the next write that is kept gets lost: "503" or "cut".


class Store(http.server.BaseHTTPRequestHandler):
    """As much of S3 as a conditional PUT needs; it keeps to the conditions exactly."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        global lose
        body = self.rfile.read(int(self.headers["Content-Length"]))
        requests.append(self.path)
        tag, _ = objects.get(self.path, (None, b""))
        wanted = self.headers.get("If-Match")
        if (self.headers.get("If-None-Match") == "*" and tag) or (wanted and wanted != tag):
            return self.answer(412)
        objects[self.path] = (f'"{len(requests)}"', body)
        how, lose = lose, None
        if how == "cut":
            self.close_connection = True
            return self.connection.shutdown(2)
        return self.answer(503 if how == "503" else 200)

    def answer(self, status):
        self.send_response(status)
        self.send_header("ETag", objects[self.path][0])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, *ignored):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
threading.Thread(target=server.serve_forever, daemon=True).start()
store = S3Store(
    "bucket",
    endpoint=f"http://127.0.0.1:{server.server_port}",
    region="us-east-1",
    access_key_id="key",
    secret_access_key="secret",
    virtual_hosted_style_request=False,
    client_options={"allow_http": True},
)
for how in ("503", "cut"):
    for mode, expected in (("create", "AlreadyExistsError"), ("update", "PreconditionError")):
        key = f"{mode}-{how}"
        condition = {"e_tag": store.put(key, b"before")["e_tag"]} if mode == "update" else "create"
        requests.clear()
        lose = how
        try:
            store.put(key, b"mine", mode=condition)
            raised = "nothing"
        except Exception as error:
            raised = type(error).__name__
        kept = objects[f"/bucket/{key}"][1]
        print(f"{mode}, answer lost by {how}: {len(requests)} requests, {raised}, object holds {kept}")
        if (raised, kept, len(requests)) != (expected, b"mine", 2):
            sys.exit("changed: obstore no longer reports its own kept write as lost")
PY
