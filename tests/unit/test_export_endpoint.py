"""Delivery over HTTP: acknowledged, sent again, in halves, set aside; as the receiver says."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import export_tools as tools
import index_tools
from commands import muniment
from muniment.errors import InputError, Refused, Unreachable
from muniment.export.cloudevents import CLOUD_EVENTS
from muniment.export.destination import Event
from muniment.export.endpoint import LONGEST_PAUSE, Endpoint, RefusedFile, read_headers
from muniment.export.forms import JSON_LINES, Form
from stand import Answer, Asked, Stand

EVENTS = [Event(number, b'{"n":%d}' % number) for number in range(8)]


class Clock:
    """Time that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits.append(seconds)


def scripted(*answers: Answer) -> Callable[[Asked], Answer]:
    script = iter(answers)
    return lambda _asked: next(script, Answer(204))


def numbers(body: bytes) -> list[int]:
    return [json.loads(line)["n"] for line in body.splitlines()]


async def put(
    answer: Callable[[Asked], Answer], *, form: Form = JSON_LINES, path: str = "/in", **more: Any
) -> tuple[Stand, Clock, list[str]]:
    clock, told = Clock(), list[str]()
    with Stand(answer).serve() as stand:
        async with Endpoint(
            form,
            stand.url(path=path),
            headers={"Authorization": "Bearer secret"},
            tell=told.append,
            clock=clock,
            sleep=clock.sleep,
            **more,
        ) as endpoint:
            await endpoint.put(EVENTS)
    return stand, clock, told


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_a_success_acknowledges(status: int) -> None:
    stand, clock, told = await put(scripted(Answer(status)))
    [asked] = stand.asked
    assert asked.method == "POST"
    assert asked.path == "/in"
    assert asked.headers["Content-Type"] == "application/x-ndjson"
    assert asked.headers["Authorization"] == "Bearer secret"
    assert numbers(asked.body) == list(range(8))
    assert (clock.waits, told) == ([], [])


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_cannot_be_taken_now_is_sent_again(status: int) -> None:
    stand, clock, told = await put(scripted(*[Answer(status)] * 3))
    assert len({asked.body for asked in stand.asked}) == 1
    assert len(stand.asked) == 4
    for wait, most in zip(clock.waits, (0.5, 1.0, 2.0), strict=True):
        assert most / 2 <= wait <= most
    assert all(f"HTTP {status}; trying again" in words for words in told)


async def test_a_broken_connection_is_tried_again() -> None:
    stand, clock, _ = await put(scripted(Answer(hang_up=True), Answer(hang_up=True), Answer(204)))
    assert stand.asked[-1].body == stand.asked[0].body
    assert clock.waits


async def test_retry_after_is_obeyed() -> None:
    _, clock, _ = await put(scripted(Answer(429, headers={"Retry-After": "120"}), Answer(503)))
    assert clock.waits[0] >= 120
    assert clock.waits[1] <= LONGEST_PAUSE


async def test_patience_ends() -> None:
    with pytest.raises(Unreachable, match="HTTP 503"):
        await put(lambda _: Answer(503), patience=60.0)
    with pytest.raises(Unreachable, match="HTTP 429"):
        await put(scripted(Answer(429, headers={"Retry-After": "120"})), patience=60.0)


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refused_event_is_found_and_ends_the_export(status: int) -> None:
    taken: list[int] = []

    def answer(asked: Asked) -> Answer:
        if 5 in (found := numbers(asked.body)):
            return Answer(status, b"field\n x is\x1b[31m bad")
        taken.extend(found)
        return Answer(204)

    with pytest.raises(Refused, match=r"refuses record 5: field x is\?\[31m bad \(HTTP") as error:
        await put(answer)
    assert error.value.problem.status == status
    assert taken == [0, 1, 2, 3, 4]


async def test_a_refused_event_is_set_aside(tmp_path: Path) -> None:
    taken: list[int] = []

    def answer(asked: Asked) -> Answer:
        found = numbers(asked.body)
        if {2, 5} & {*found}:
            return Answer(400, b"no")
        taken.extend(found)
        return Answer(204)

    refused = RefusedFile(tmp_path / "refused")
    _, _, told = await put(answer, refused=refused)
    assert taken == [0, 1, 3, 4, 6, 7]
    assert refused.count == 2
    lines = [json.loads(line) for line in (tmp_path / "refused").read_text().splitlines()]
    assert lines == [
        {"index": number, "reason": "HTTP 400: no", "event": {"n": number}} for number in (2, 5)
    ]
    assert len(told) == 2
    assert (tmp_path / "refused").stat().st_mode & 0o777 == 0o600


def test_what_is_set_aside_behind_a_line_that_was_torn_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "refused"
    first, again = Event(1, b'{"n":1}'), Event(2, b'{"n":2}')
    RefusedFile(path).add([first], "no")
    whole = path.read_bytes()
    # Killed as it wrote the second one, the export sends it again: the cursor has not moved.
    path.write_bytes(whole + b'{"index":2,"reason":"no","eve')
    RefusedFile(path).add([again], "no")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["index"] for line in lines] == [1, 2]
    path.write_bytes(b"what somebody else wrote")
    with pytest.raises(InputError, match="refused: does not end with a line of records set aside"):
        RefusedFile(path).add([again], "no")
    assert path.read_bytes() == b"what somebody else wrote"


@pytest.mark.parametrize("status", [301, 302, 307, 401, 403, 404, 405, 410, 501])
async def test_what_is_about_the_endpoint_ends_it_at_once(status: int, tmp_path: Path) -> None:
    """It is not repeated, no redirect is followed, and nothing is set aside for it."""
    with Stand(scripted()).serve() as elsewhere:
        refused = RefusedFile(tmp_path / "refused")
        answer = Answer(status, headers={"Location": elsewhere.url()})
        with pytest.raises(Refused, match="records 0 to 7"):
            await put(scripted(answer), refused=refused)
        assert not elsewhere.asked
        assert not refused.count


async def test_a_lone_event_goes_in_structured_mode() -> None:
    with Stand(scripted()).serve() as stand:
        async with Endpoint(CLOUD_EVENTS, stand.url(), headers={}) as endpoint:
            await endpoint.put(EVENTS[:1])
            await endpoint.put(EVENTS[:2])
    assert [asked.headers["Content-Type"] for asked in stand.asked] == [
        "application/cloudevents+json; charset=UTF-8",
        "application/cloudevents-batch+json; charset=UTF-8",
    ]
    assert [asked.path for asked in stand.asked] == ["/", "/"]


class TestHeaders:
    def file(self, tmp_path: Path, data: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "headers"
        path.write_bytes(data)
        path.chmod(mode)
        return path

    def test_are_read(self, tmp_path: Path) -> None:
        data = b"# of the SIEM\nAuthorization: Splunk a b\t\n\nX-Scope:1\n"
        assert read_headers(self.file(tmp_path, data)) == {
            "Authorization": "Splunk a b",
            "X-Scope": "1",
        }
        assert read_headers(None) == {}

    @pytest.mark.parametrize("line", [b"secret", b"a b: secret", b"A:", b"A: \xfcsecret", b": b"])
    def test_a_bad_line_is_named_and_not_told(self, tmp_path: Path, line: bytes) -> None:
        with pytest.raises(InputError, match="line 2") as error:
            read_headers(self.file(tmp_path, b"A: b\n" + line))
        assert "secret" not in str(error.value)

    def test_are_private(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="0600"):
            read_headers(self.file(tmp_path, b"A: b\n", 0o644))

    def test_do_not_travel_in_the_clear(self, tmp_path: Path) -> None:
        path = self.file(tmp_path, b"A: b\n")
        replica = tmp_path / "replica.db"
        tools.follow(replica, index_tools.MemorySource([index_tools.MANIFEST]))
        done = muniment(
            *("export", "--replica", str(replica), "--format", "jsonl", "--headers", str(path)),
            *("--to", "http://siem.example/in"),
            code=7,
        )
        assert "use https" in done.stderr


@pytest.mark.parametrize("batch", ["1", "100"])
def test_the_command_posts_and_goes_on_behind_what_was_acknowledged(
    tmp_path: Path, batch: str
) -> None:
    entries = index_tools.make_entries(Random(5), 300)
    replica, cursor = tmp_path / "replica.db", tmp_path / "cursor"
    tools.follow(replica, index_tools.MemorySource(entries))
    common = (
        *("export", "--replica", str(replica), "--format", "cloudevents"),
        *("--cursor", str(cursor), "--batch", batch),
    )
    known = [index for index, _ in index_tools.known_records(entries)]
    with Stand(scripted(Answer(), Answer(), Answer(404))).serve() as stand:
        url = stand.url(path="/events")
        done = muniment(*common, "--to", url, code=6)
        assert "HTTP 404" in done.stderr
        muniment(*common, "--to", url)
    found: list[int] = []
    for number, asked in enumerate(stand.asked):
        body = json.loads(asked.body)
        if number != 2:
            found += [int(one["id"]) for one in (body if isinstance(body, list) else [body])]
    assert found == known


def test_a_set_aside_record_shows_in_the_exit_code(tmp_path: Path) -> None:
    replica, aside = tmp_path / "replica.db", tmp_path / "aside"
    tools.follow(replica, index_tools.MemorySource(index_tools.make_entries(Random(5), 5)))
    with Stand(lambda _: Answer(400)).serve() as stand:
        muniment(
            *("export", "--replica", str(replica), "--format", "jsonl", "--to", stand.url()),
            *("--set-aside", str(aside)),
            code=6,
        )
    assert aside.read_text().count("\n") == 5
