#!/usr/bin/env bash
# Caddy's forward_auth hands the text of a placeholder to the upstream, as the value of a header.
#
# Packages: caddy 2.6.2-5 (Debian 12; the module v2.11.9 does not do so).
# Seen: `copy_headers Remote-User Remote-Groups` with an authorization service that answers 200 and
#   sends Remote-User alone: the upstream gets `Remote-User: ada` and `Remote-Groups:
#   {http.reverse_proxy.header.Remote-Groups}`, the name of Caddy's own variable in braces.
# Not expected because: a header that is not there is copied as nothing, or not at all, by nginx
#   (auth_request_set), Traefik (authResponseHeaders) and Envoy.
# For users: an upstream must not take a header that is there for one that was set; ours is a
#   permit, which it parses and verifies. Upgrade Caddy, or have the service send each header always.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 where that package is not to be had.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "skipped: no apt"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq caddy=2.6.2-5 >/dev/null 2>&1 || { echo "skipped: apt has no caddy 2.6.2-5"; exit 77; }
dpkg-deb -x caddy_*.deb caddy
python3 - "$folder" <<'PY'
import http.client
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

folder = sys.argv[1]
reached = []


class Authorization(http.server.BaseHTTPRequestHandler):
    """Says yes, and who it is; of groups it says nothing."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Remote-User", "ada")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *ignored):
        pass


class Upstream(Authorization):
    def do_GET(self):
        reached.append(dict(self.headers.items()))
        super().do_GET()


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
with open(f"{folder}/Caddyfile", "w") as file:
    file.write(f"""\
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  forward_auth 127.0.0.1:{serve(Authorization)} {{
    uri /decide
    copy_headers Remote-User Remote-Groups
  }}
  reverse_proxy 127.0.0.1:{serve(Upstream)}
}}
""")
home = {**os.environ, "HOME": folder, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
caddy = subprocess.Popen(
    [f"{folder}/caddy/usr/bin/caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"],
    env=home, stderr=subprocess.DEVNULL,
)
try:
    for _ in range(150):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.2)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/")
    print("client gets", connection.getresponse().status)
    found = {name: reached[0].get(name) for name in ("Remote-User", "Remote-Groups")}
    print("upstream gets", found)
    if found != {"Remote-User": "ada", "Remote-Groups": "{http.reverse_proxy.header.Remote-Groups}"}:
        sys.exit("changed: the placeholder is not handed on as it is")
finally:
    caddy.terminate()
    caddy.wait(30)
PY
