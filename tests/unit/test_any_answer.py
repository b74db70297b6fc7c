"""Whatever a log or a peer answers: one declared error, and whoever asked goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byzantine import ByzantineLog
from muniment.errors import BadAnswer, Refused
from muniment.http.answer import Answer as Refusal
from muniment.http.loganswers import StreamHead, decode_answer
from muniment.http.logrequests import refusal_of
from muniment.http.typedjson import decode_json
from muniment.tlog.encoding import FormatError
from muniment_witness.cli.remote import lines_of, read_all
from muniment_witness.gossip.net import TransportAnswer as Answered
from muniment_witness.gossip.peers import EvidenceList
from stand import NOT_FOUND, Answer
from witness_network import Network

NASTY = [
    b"",
    b"\xff",
    b'{"evidence":[{"origin":"\xff","hash":"0"}]}',
    b'{"evidence":[{"origin":"\\ud800","hash":"0"}]}',
    b'{"x":' + b"[" * 100_000,
    b"[" * 100_000,
    b'{"evidence":[{"origin":"log.example/byzantine","hash":"../../x"}]}',
    b'{"evidence":' + b"9" * 5000 + b"}",
    b"\x00\x02\xff\xff",
]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("number", range(len(NASTY)))
async def test_no_answer_of_a_peer_ends_a_witness(tmp_path: Path, number: int) -> None:
    """Its list of evidence, its list of heads, its head and its files, each of them anything."""
    log = ByzantineLog()
    log.main.append(20)
    async with Network(tmp_path, log.main) as net:
        w1, w2 = net.add("w1", log.main), net.add("w2", log.main)
        await net.start()
        await net.rounds(1)
        head = w2.store.latest[net.origin].note
        for genuine in (True, False):
            for known in ("heads", "evidence", "checkpoint", ""):

                def answer(path: str, genuine: bool = genuine, known: str = known) -> Answer:
                    if path.endswith(known):
                        return Answer(200, NASTY[number])
                    if path.endswith("/checkpoint") and genuine:
                        return Answer(200, head)
                    if path.endswith("/heads"):
                        return Answer(200, b"")  # a peer that gossips, and knows nothing new
                    return NOT_FOUND

                net.impostors["w2"] = answer
                await net.rounds(1, only=["w1"])
        del net.impostors["w2"]
        log.main.append(5)
        await net.rounds(2)
        assert w1.size == w2.size == 25
        assert w1.watch.peer_reader.state["w2.example"].error == ""


@given(st.sampled_from(NASTY) | st.binary(max_size=50))
def test_typed_json_is_a_value_or_a_format_error(data: bytes) -> None:
    for kind in (EvidenceList, StreamHead, dict[str, Any]):
        try:
            value: object = decode_json(data, kind, "text")
        except FormatError:
            with pytest.raises(BadAnswer):
                decode_answer(data, kind, "text")
        else:
            assert isinstance(value, dict if kind not in (EvidenceList, StreamHead) else kind)


@given(st.integers(100, 999), st.sampled_from(NASTY) | st.binary(max_size=50), st.text(max_size=12))
def test_a_refusal_is_read_whatever_it_says(status: int, data: bytes, after: str) -> None:
    headers = {"content-type": "application/problem+json", "retry-after": after}
    found = refusal_of(Refusal(status, headers, data), "/path")
    assert isinstance(found, Refused if status >= 400 else BadAnswer)


def test_the_url_of_what_is_not_there_is_named() -> None:
    """Most often it is that of another service."""
    url = "http://127.0.0.1:8101/checkpoint"
    body = b'{"type":"urn:muniment:problem:not-found","detail":"there is nothing at this path"}'
    for headers, data in (({"content-type": "application/problem+json"}, body), ({}, b"")):
        assert url in str(refusal_of(Refusal(404, headers, data), url))


class Saying:
    """A transport on which everybody says one thing."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def get(self, url: str, *, most: int = 0, etag: str = "") -> Answered:
        return Answered(200, self.body)

    async def post(self, url: str, body: bytes) -> Answered:
        raise AssertionError("nothing is posted")


STATUS = {
    "alarms": [{"kind": "k", "subject": "s", "detail": "d"}],
    "logs": [{"origin": "o", "cosigned": {"size": 1, "age": 2}, "known_size": 1, "evidence": []}],
    "peers": [{"name": "p", "logs": [], "error": ""}],
}


@st.composite
def statuses(draw: st.DrawFn) -> bytes:
    """A status with some values replaced by others, at any depth."""
    value: Any = json.loads(json.dumps(STATUS))
    for _ in range(draw(st.integers(1, 3))):
        inner = value
        while True:
            keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(inner[key], dict | list) or draw(st.booleans()):
                inner[key] = draw(VALUES)
                break
            inner = inner[key]
    return json.dumps(value).encode()


@settings(deadline=None)
@given(st.sampled_from(NASTY) | statuses())
async def test_any_status_of_a_witness_is_read_or_refused(data: bytes) -> None:
    try:
        files = await read_all(Saying(data), "http://w.example")
        assert all("/" not in name for name in files)
        lines_of(decode_json(data, dict[str, Any], "the status"))
    except FormatError:
        pass
