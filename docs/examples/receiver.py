"""A receiver of exported events: keeps each record once, however often it comes.

    python receiver.py 127.0.0.1:8181 received.jsonl

It takes JSON Lines. `origin` and `index` name a record for ever, so they are the key.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

host, _, port = sys.argv[1].rpartition(":")
kept = Path(sys.argv[2])
known = set()


class Receiver(BaseHTTPRequestHandler):
    """Answers when what it was sent is kept."""

    def do_POST(self) -> None:
        events = [
            json.loads(line)
            for line in self.rfile.read(int(self.headers["Content-Length"])).splitlines()
        ]
        with kept.open("a") as file:
            for event in events:
                key = event["origin"], event["index"]
                if key not in known:
                    file.write(json.dumps(event) + "\n")
                    known.add(key)
        self.send_response(204)  # from here on, it is ours to keep
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = HTTPServer((host, int(port)), Receiver)
print("ready", flush=True)
server.serve_forever()
