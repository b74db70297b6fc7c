#!/usr/bin/env bash
# A GOAWAY, sent or received, keeps h2 from answering the requests that are under way.
#
# Packages: h2 4.4.1 (PyPI).
# Seen: a client begins a request and then sends GOAWAY with NO_ERROR, as it does when it closes in
#   order. The server's h2 raises ProtocolError when it is to send the answer. So it does when the
#   server itself has called close_connection() while a request was under way.
# Not expected because: by RFC 9113 section 6.8 a GOAWAY lets an endpoint stop accepting new streams
#   while it still finishes those that were established before; a graceful stop begins with one.
# For users: a server or client on h2 that stops in order loses what is under way, and one whose peer
#   stops in order does, too. Write the server's first GOAWAY by hand, and keep a received one from
#   h2 (frames are 9 bytes of header and a payload) until nothing is under way.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check h2==4.4.1
"$folder/venv/bin/python" - <<'PY'
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError


def under_way():
    """A client and a server between which one request has begun."""
    client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    fields = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "a.example")]
    client.send_headers(1, fields, end_stream=True)
    server.receive_data(client.data_to_send())
    client.receive_data(server.data_to_send())
    return client, server


def nobody(client, server):
    pass


def the_client(client, server):
    client.close_connection()
    server.receive_data(client.data_to_send())


def the_server(client, server):
    server.close_connection(last_stream_id=1)


for who, fails in ((nobody, False), (the_client, True), (the_server, True)):
    client, server = under_way()
    who(client, server)
    try:
        server.send_headers(1, [(":status", "200")], end_stream=True)
        seen = "the answer is sent"
    except ProtocolError as error:
        seen = f"ProtocolError: {error}"
    print(f"GOAWAY by {who.__name__.replace('_', ' ')}: {seen}")
    if seen.startswith("ProtocolError") != fails:
        sys.exit("changed: h2 deals with GOAWAY otherwise")
PY
