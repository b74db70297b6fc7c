"""Real witnesses that read a log and each other, as processes with folders of their own."""

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import processes
from byzantine import ByzantineLog
from ports import free_port
from processes import muniment_witness
from stand import get
from waiting import SECONDS
from witness_tools import set_up

PERIOD = 0.4
REQUEST_SECONDS = 2.0  # of a witness that is set up by `configure`


class Deployment:
    """Witness folders whose configurations name each other; `url` is known before the start."""

    def __init__(self, folder: Path, names: Sequence[str], log: ByzantineLog) -> None:
        self.folder = folder
        self.log = log
        self.names = list(names)
        self.ports = {name: free_port() for name in names}
        self.vkeys = {
            name: set_up(folder / name, (), name=f"{name}.example", port=self.ports[name])[1][0]
            for name in names
        }

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def config(self, name: str) -> Path:
        return self.folder / name / "witness.toml"

    def configure(
        self, name: str, log_url: str | None, peers: Sequence[str], more: str = ""
    ) -> None:
        text = self.config(name).read_text()
        text = text.partition("# The logs to witness")[0].partition("[[log]]")[0]
        text += f"[[log]]\nvkeys = {json.dumps(self.log.vkeys)}\n{more}\n"
        if log_url is not None:
            text += f'url = "{log_url}"\ncosign_pulled = true\n'
        for peer in peers:
            text += f'[[peer]]\nvkeys = ["{self.vkeys[peer]}"]\nurl = "{self.url(peer)}"\n'
        text += f"[gossip]\nperiod_seconds = {PERIOD}\nrequest_seconds = 2\nstart_seconds = 5\n"
        self.config(name).write_text(text)

    @contextmanager
    def running(self) -> Iterator[Mapping[str, processes.Process]]:
        argvs = [muniment_witness("serve", "--config", self.config(name)) for name in self.names]
        with processes.started(argvs) as started:
            yield dict(zip(self.names, started, strict=True))

    def status(self, name: str) -> dict[str, Any]:
        request = urllib.request.Request(self.url(name), headers={"Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            status: dict[str, Any] = json.loads(response.read())
        return status

    def settle(self, name: str, size: int, *, compared: bool = False) -> dict[str, Any]:
        """Waits until a witness has cosigned a size, and compared it with its one peer."""
        deadline = time.monotonic() + SECONDS
        while True:
            status = self.status(name)
            sizes = [(status["logs"][0]["cosigned"] or {}).get("size")]
            if compared:
                sizes += [log["size"] for log in status["peers"][0]["logs"]] or [None]
            if set(sizes) == {size}:
                return status
            assert time.monotonic() < deadline, status
            time.sleep(0.02)

    def evidence(self, name: str) -> list[str]:
        status, body = get(self.url(name) + "/gossip/evidence")
        assert status == 200
        return [each["hash"] for each in json.loads(body)["evidence"]]

    def rounds(self, name: str) -> int:
        """Rounds of gossip that a witness has begun with the peer that it asked most often."""
        return max(peer["rounds"] for peer in self.status(name)["peers"])

    def evidence_of(self, name: str) -> tuple[list[str], int]:
        """Waits for evidence; what there is, and the rounds that the witness had begun by then."""
        deadline = time.monotonic() + SECONDS
        while not (found := self.evidence(name)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found, self.rounds(name)


def configure(folder: Path, logs: dict[str, str], peers: dict[str, str]) -> Path:
    """A witness that knows logs and peers, by vkey and URL; no URL for a log is not to read it."""
    config, _ = set_up(folder, (), "ed25519", "mldsa44", name="w.example")
    text = config.read_text()
    text = text[: text.index("# The logs to witness")]
    for table, entries in (("log", logs), ("peer", peers)):
        for vkey, url in entries.items():
            text += f"[[{table}]]\nvkeys = [{json.dumps(vkey)}]\n"
            text += f'url = "{url}"\n' if url else ""
    text += "[gossip]\nperiod_seconds = 0.1\n"
    text += f"request_seconds = {REQUEST_SECONDS}\nstart_seconds = 0.5\n"
    config.write_text(text)
    return config
