"""A real witness process among hostile neighbours: a declared answer to everybody, in time."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import processes
import witness_corpus
from byzantine import View
from muniment.tlog.cosignature import signer_for
from muniment.tlog.keys.keyfile import generate
from processes import muniment_witness
from stand import GARBAGE, OVERSIZED, SLOW, TRICKLE, Answer, Asked, Stand, get, post
from waiting import eventually
from witness_deployment import REQUEST_SECONDS, configure

SLACK = 10.0
"""For a machine with much else to do; the hostile answers would take a minute or more."""
MEMORY = 64 << 20
"""How much a witness may grow; OVERSIZED sends twice as much in each answer."""


@contextmanager
def serving(config: Path) -> Iterator[processes.Process]:
    with processes.start(muniment_witness("serve", "--config", config)) as witness:
        yield witness
        assert witness.returncode is None
        assert "unhandled exception" not in witness.stderr
        assert witness.terminate() == 0


def memory(process: processes.Process) -> int:
    """Resident bytes."""
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[1]) * 4096


def test_the_corpus_against_a_process(tmp_path: Path) -> None:
    config = configure(tmp_path / "w", {witness_corpus.vkey(): ""}, {})
    with serving(config) as witness:
        host, _, port = witness.url.removeprefix("http://").rpartition(":")
        for case in witness_corpus.load():
            connection = http.client.HTTPConnection(host, int(port), timeout=60)
            try:
                connection.request(case.method, case.path, case.body or None)
                status = connection.getresponse().status
            except (BrokenPipeError, ConnectionResetError):
                # A 413 is told before the body has come, and may be lost with the connection.
                status = 413
            finally:
                connection.close()
            assert status in case.statuses, case.name
        assert get(witness.url + "/healthz")[0] == 200


@pytest.mark.parametrize("kind", ["slow", "trickle", "oversized", "garbage"])
def test_nobody_waits_for_a_hostile_log_or_peer(tmp_path: Path, kind: str) -> None:
    """No answer later than its deadline, while others answer never."""
    answers = {"slow": (SLOW,), "trickle": (TRICKLE,), "oversized": (OVERSIZED,)}
    garbage = (*GARBAGE, Answer(status=302, headers={"Location": "http://127.0.0.1:9/"}))
    chosen = answers.get(kind, garbage)
    turns = 0

    def hostile(_: Asked) -> Answer:
        nonlocal turns
        turns += 1
        return chosen[turns % len(chosen)]

    good = View("good.example").append(50)
    bad = View("bad.example").append(50)
    peer = signer_for("p.example", generate("ed25519"), use="witness")
    stand = Stand(hostile)
    with stand.serve("127.0.0.1"):
        logs = {good.vkeys[0]: "", bad.vkeys[0]: stand.url()}
        config = configure(tmp_path / "w", logs, {str(peer.vkey): stand.url(path="/peer")})
        with serving(config) as witness:
            before = memory(witness)
            # The first half while nothing has timed out yet, the other when much has.
            for turn, size in enumerate((10, 20, 30, 40, 50)):
                old = 10 * turn
                for url, body, expected in (
                    ("/add-checkpoint", good.add_checkpoint(old, size).encode(), 200),
                    ("/add-checkpoint", bad.add_checkpoint(old, size).encode(), 200),
                    ("/gossip/heads", b"", 200),
                    ("/gossip/evidence", b"", 400),
                ):
                    began = time.monotonic()
                    status, answer = post(witness.url + url, body)
                    assert status == expected, answer
                    assert time.monotonic() - began < REQUEST_SECONDS + SLACK
                for path in ("/", "/readyz", "/metrics", "/gossip/heads"):
                    began = time.monotonic()
                    assert get(witness.url + path)[0] == 200
                    assert time.monotonic() - began < REQUEST_SECONDS + SLACK
                asked = len(stand.asked)
                # It goes on asking: nothing hangs.
                eventually(
                    lambda asked=asked: len(stand.asked) >= asked + 2,  # type: ignore[misc]
                    seconds=5 * REQUEST_SECONDS + SLACK,
                )
            status = json.loads(get(witness.url + "/status.json")[1])
            assert not any(log["evidence"] for log in status["logs"])
            assert memory(witness) - before < MEMORY
