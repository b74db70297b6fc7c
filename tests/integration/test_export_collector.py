"""`muniment export --format otlp` to a collector of OpenTelemetry, and what that sends on."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import export_tools as tools
import foreign
import index_tools
from commands import muniment
from waiting import eventually


class Backend(ThreadingHTTPServer):
    """Where the collector sends what it has taken.

    Attributes:
        records: The log records that came.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Request)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serves; its URL."""
        with self:
            thread = threading.Thread(target=self.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{self.server_port}"
            finally:
                self.shutdown()
                thread.join()


class _Request(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        for resource in request["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                self.server.records += scope["logRecords"]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *ignored: object) -> None:
        """Says nothing."""


def value(record: dict[str, Any], name: str) -> Any:
    [found] = [one["value"] for one in record["attributes"] if one["key"] == name]
    [content] = found.values()
    return content


@pytest.mark.parametrize("batch", ["1", "100"])
def test_a_collector_takes_each_record_and_sends_it_on(tmp_path: Path, batch: str) -> None:
    entries = tools.telling_entries()
    replica, backend = tmp_path / "replica.db", Backend()
    tools.follow(replica, index_tools.MemorySource(entries))
    known = dict(index_tools.known_records(entries))
    with (
        backend.running() as url,
        foreign.otelcol(url, tmp_path / "otelcol.yaml") as collector,
    ):
        argv = ["--replica", str(replica), "--format", "otlp", "--batch", batch]
        muniment("export", *argv, "--to", collector, "--cursor", str(tmp_path / "cursor"))
        eventually(lambda: len(backend.records) >= len(known), lambda: len(backend.records))
    found = {int(value(one, "muniment.index")): one for one in backend.records}
    assert len(backend.records) == len(known)
    assert found.keys() == known.keys()
    for index, record in known.items():
        one = found[index]
        assert one["body"] == {"stringValue": entries[index].decode()}
        assert int(one["timeUnixNano"]) == record.time * 1_000_000
        assert value(one, "log.record.uid") == f"{index_tools.ORIGIN}#{index}"
        trace = getattr(record, "traceparent", None)
        if trace:
            assert trace.split("-")[1:3] == [one["traceId"], one["spanId"]]
