"""What a command reads of a witness, when something else, or nothing, is at the URL."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from muniment_witness.cli import main
from muniment_witness.cli.exits import EXIT_UNREACHABLE
from muniment_witness.cli.remote import read_all, read_status
from muniment_witness.gossip.net import TransportAnswer, UnreachableError
from witness_tools import log_signer


class Elsewhere:
    """A server that has nothing of a witness's, but for what it is given."""

    def __init__(self, given: dict[str, TransportAnswer] | None = None) -> None:
        self.given = given or {}

    async def get(self, url: str, *, most: int = 0, etag: str = "") -> TransportAnswer:
        del most, etag
        return self.given.get(url, TransportAnswer(404))

    async def post(self, url: str, body: bytes) -> TransportAnswer:
        raise AssertionError(f"{len(body)} bytes to {url}")


async def test_who_is_no_witness_is_named() -> None:
    url = "http://127.0.0.1:8100"
    words = f"{url}/status.json: HTTP 404: is that a witness?"
    with pytest.raises(UnreachableError, match=re.escape(words)):
        await read_status(Elsewhere(), url)


async def test_another_witness_at_the_configured_address_is_not_taken_for_ones_own() -> None:
    url = "http://127.0.0.1:8101"
    body = msgspec.json.encode({"name": "witness.example/w1", "logs": []})
    seen = Elsewhere({f"{url}/status.json": TransportAnswer(200, body)})
    assert (await read_status(seen, url, "witness.example/w1"))["logs"] == []
    words = "witness.example/w1 answers, and not witness.example/w2"
    for read in (read_status, read_all):
        with pytest.raises(UnreachableError, match=re.escape(words)):
            await read(seen, url, "witness.example/w2")


async def test_an_export_is_whole_but_for_what_has_gone_meanwhile() -> None:
    url, gone, busy = "http://127.0.0.1:8100", "ab" * 32, "cd" * 32
    one = {"origin": "log.example", "cosigned": {"size": 1}, "evidence": [{"hash": gone}]}
    seen = {f"{url}/status.json": TransportAnswer(200, msgspec.json.encode({"logs": [one]}))}
    assert [*await read_all(Elsewhere(seen), url)] == ["status.json"]
    seen[f"{url}/gossip/evidence/{gone}"] = TransportAnswer(200, b"it")
    assert (await read_all(Elsewhere(seen), url))[f"{gone}.evidence"] == b"it"
    one["evidence"] = [{"hash": gone}, {"hash": busy}]
    seen[f"{url}/status.json"] = TransportAnswer(200, msgspec.json.encode({"logs": [one]}))
    seen[f"{url}/gossip/evidence/{busy}"] = TransportAnswer(503)
    words = f"{url}/gossip/evidence/{busy}: HTTP 503"
    with pytest.raises(UnreachableError, match=re.escape(words)):
        await read_all(Elsewhere(seen), url)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port that nobody listens at, and nobody else gets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_whoever_does_not_answer_is_named(nowhere: str, tmp_path: Path) -> None:
    feed = ("feed", "--log", f"{nowhere}/log", "--log-vkey", str(log_signer().vkey), "--once")
    for command, asked in (
        (("status", "--url", nowhere), "status.json"),
        (("export", "--url", nowhere, str(tmp_path / "out")), "status.json"),
        ((*feed, "--witness", f"{nowhere}/witness"), "log/checkpoint"),
    ):
        done = CliRunner().invoke(main, command)
        words = f"muniment-witness: {nowhere}/{asked}: Connection refused\n"
        assert (done.exit_code, done.output) == (EXIT_UNREACHABLE, words)
