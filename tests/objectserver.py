"""An object store in memory, as careless as a test wants it: it speaks as much S3 as `ObjectStore`.

    with objectserver.serving(Behaviour) as (server, environment):
        ...  # `environment` is what a client needs

Stores with these faults exist, and none of them can be had wherever the tests run.
"""

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from hashlib import md5


class Store:
    """What one server holds, and how it answers; a subclass answers otherwise.

    Attributes:
        objects: path → content.
        puts: writes that were asked for.
        gets: reads that were asked for.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts = self.gets = 0
        self.lock = threading.Lock()

    def put(self, path: str, data: bytes, must_be_new: bool, expected: str | None) -> int:
        """Writes an object if its condition holds; the status."""
        with self.lock:
            self.puts += 1
            status = self.look(path, must_be_new, expected)
            if status == 200:
                self.objects[path] = data
            return status

    def look(self, path: str, must_be_new: bool, expected: str | None) -> int:
        """What is answered to a write with this condition."""
        found = self.objects.get(path)
        if must_be_new:
            return 412 if found is not None else 200
        return 404 if found is None else 200 if tag(found) == expected else 412


def tag(data: bytes) -> str:
    """The ETag of an object."""
    return f'"{md5(data).hexdigest()}"'


@contextlib.contextmanager
def serving(store: Store) -> Iterator[dict[str, str]]:
    """Serves it on loopback; the environment of a client."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            status = store.put(
                self.path, data, self.headers["If-None-Match"] == "*", self.headers["If-Match"]
            )
            self.answer(status, b"", tag(data))

        def do_GET(self) -> None:
            store.gets += 1
            found = store.objects.get(self.path)
            if found is None:
                self.answer(404)
            else:
                self.answer(200, found, tag(found))

        def do_POST(self) -> None:
            # Many are deleted by one request, also when there is but one.
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            keys = re.findall("<Key>(.*?)</Key>", body)
            for key in keys:
                store.objects.pop(f"{self.path.partition('?')[0].rstrip('/')}/{key}", None)
            gone = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            self.answer(200, f"<DeleteResult>{gone}</DeleteResult>".encode())

        def answer(self, status: int, body: bytes = b"", e_tag: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Last-Modified", "Sun, 29 Nov 2026 00:00:00 GMT")
            if e_tag:
                self.send_header("ETag", e_tag)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
