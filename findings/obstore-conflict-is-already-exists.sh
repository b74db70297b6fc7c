#!/usr/bin/env bash
# A replacement that meets a 409 fails as "already exists", and a store without conditions fails
# like a broken connection.
#
# Packages: obstore 0.12.1 (PyPI; object_store 0.14.2 inside).
# Seen: `put(mode={"e_tag": ...})` on an existing object raises
#     412 PreconditionError, 404 PreconditionError, 409 AlreadyExistsError, 501 GenericError;
#   `put(mode="create")` raises AlreadyExistsError for 412, 409 and even 304. GenericError is also what
#   a broken connection raises, and it has no attribute for the status: only its text has one.
# Not expected because: S3 answers 409 to a conditional write that met another one under way and asks
#   for another attempt; the object "already exists" in any case, since it is being replaced. And a
#   deleted object (404) reads like a changed one.
# For users: code that maps PreconditionError to "lost the race" and AlreadyExistsError to "somebody
#   has written this tile" draws the wrong conclusion of a 409 in both modes. Read the object again
#   after each of these errors, and treat a 501 in the text as final: waiting does not mend it.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check obstore==0.12.1
"$folder/venv/bin/python" - <<'PY'
import datetime
import http.server
import sys
import threading

from obstore.store import S3Store

status = 200


class Store(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

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
    retry_config={"max_retries": 0, "retry_timeout": datetime.timedelta(seconds=5)},
)
expected = {
    "replace": {404: "PreconditionError", 409: "AlreadyExistsError", 412: "PreconditionError", 501: "GenericError"},
    "create": {304: "AlreadyExistsError", 409: "AlreadyExistsError", 412: "AlreadyExistsError", 501: "GenericError"},
}
for name, mode in (("replace", {"e_tag": '"1"'}), ("create", "create")):
    seen = {}
    for status in expected[name]:
        try:
            store.put("checkpoint", b"new", mode=mode)
            seen[status] = "nothing"
        except Exception as error:
            seen[status] = type(error).__name__
            if status == 501 and (hasattr(error, "status") or "501" not in str(error)):
                sys.exit("changed: the status of an unsupported condition is told otherwise")
    print(name, seen)
    if seen != expected[name]:
        sys.exit(f"changed: expected {expected[name]}")
PY
