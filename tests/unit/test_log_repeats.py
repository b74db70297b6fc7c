"""Exactly once for those who cannot sign: what requests are recognised by, and what follows."""

import asyncio
import json
from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import decisions
from muniment.records.forms import Forms
from muniment.tlog.encoding import in_one_go
from muniment_log.core.claims import Claims
from muniment_log.core.ingest import received, receiving
from muniment_log.core.ports import Receipt, StreamKey
from muniment_log.core.queueing import Group
from muniment_log.core.recall import NEW, Recall, RecordSpan, joined, pack_runs, unpack_runs
from muniment_log.core.repeats import (
    BadKeyError,
    IdConflictError,
    KeyConflictError,
    RequestPlan,
    RequestRecords,
    parse_key,
    resolve,
)

NOW_MS = 1_790_000_000_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def pair(subject: str = "planner", **members: Any) -> dict[str, Any]:
    return {
        "request": decisions.request(subject, "call", ("tool", "x")),
        "response": {"decision": True},
        **members,
    }


class Log:
    """Takes requests one after the other, as the sequencer and its order do."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Recall] = {}
        self.leaves: list[bytes] = []
        self.now_ms = NOW_MS
        self.ids = 0

    def read(
        self, value: object, *, key: str | None = None, trace: str | None = None
    ) -> RequestRecords:
        self.now_ms += 1

        def new_id() -> str:
            self.ids += 1
            return f"made-{self.ids}"

        return in_one_go(
            receiving(
                json.dumps(value).encode(),
                lines=False,
                producer="p.example",
                now_ms=self.now_ms,
                new_id=new_id,
                key=key,
                traceparent=trace,
            )
        )

    def send(self, value: object, *, key: str | None = None, trace: str | None = None) -> Receipt:
        request = self.read(value, key=key, trace=trace)
        plan = resolve(request, {n: self.kept[n] for n in request.names if n in self.kept})
        if not plan.records:
            return plan.receipt(None)
        first = len(self.leaves)
        end = first + len(plan.records)
        self.leaves += [*plan.records, b"manifest"]
        for recall in plan.recalls:
            self.kept[recall.name] = recall.placed(first, end)
        return plan.receipt(Receipt(first, len(plan.records), end, end + 1))

    def records(self, receipt: Receipt) -> list[dict[str, Any]]:
        places = receipt.indices or range(receipt.first, receipt.first + receipt.count)
        return [json.loads(self.leaves[at]) for at in places]


def test_a_record_is_recognised_by_its_id_whatever_time_was_filled_in() -> None:
    log = Log()
    first = log.send(pair(id="a"))
    assert log.send(pair(id="a")) == first == Receipt(0, 1, 1, 2)
    assert log.send([pair(id="a")]) == first
    # The time that the log gave it says nothing else either.
    assert log.send(pair(id="a", time=log.records(first)[0]["time"])) == first
    with pytest.raises(IdConflictError, match=r"record 0: its id stands .* the time"):
        log.send(pair(id="a", time=NOW_MS - 5))
    with pytest.raises(IdConflictError, match="record 1: its id stands for other content") as error:
        log.send([pair(id="b"), pair("another", id="a")])
    assert error.value.entry == 1
    assert len(log.leaves) == 2


@pytest.mark.parametrize("key", [None, "k"])
def test_what_is_received_at_once_is_recognised_as_what_is_not(key: str | None) -> None:
    producer, forms = "p.example", Forms()

    def read(body: bytes) -> RequestRecords:
        return in_one_go(
            receiving(
                body,
                lines=False,
                producer=producer,
                now_ms=NOW_MS,
                new_id=lambda: "made",
                key=key,
                forms=forms,
            )
        )

    entries = decisions.decisions(50, 1, producer)
    assert received(entries[0], producer, key, Forms()) is None  # whose form is not known yet
    others = [read(entry) for entry in entries]
    at_once = 0
    for entry, other in zip(entries, others, strict=True):
        if (one := received(entry, producer, key, forms)) is None:
            continue
        at_once += 1
        assert [*one.records] == [*other.records] == [entry]
        assert ([*one.said], one.key) == ([*other.said], other.key)
    assert at_once
    for unusual in (
        b" " + entries[0],
        b"[%b]" % entries[0],
        entries[0].replace(b'"v":1', b'"v":2'),
        entries[0].replace(producer.encode(), b"q.example"),
    ):
        assert received(unusual, producer, key, forms) is None


def test_a_time_that_was_stated_counts() -> None:
    log = Log()
    first = log.send(pair(id="a", time=NOW_MS - 9))
    assert log.send(pair(id="a", time=NOW_MS - 9)) == first
    assert log.send(pair(id="a")) == first  # any time would have been filled in
    with pytest.raises(IdConflictError):
        log.send(pair(id="a", time=NOW_MS - 8))


def test_an_id_is_one_for_all_kinds() -> None:
    log = Log()
    log.send(pair(id="a"))
    outcome = {"kind": "outcome", "execution": "run", "status": "completed"}
    with pytest.raises(IdConflictError):
        log.send({**outcome, "id": "a"})
    first = log.send({**outcome, "id": "b"})
    assert log.send({**outcome, "id": "b"}) == first


def test_records_without_an_id_are_new_each_time() -> None:
    log = Log()
    assert log.send(pair()) != log.send(pair())
    assert log.send([pair(), pair()]) == Receipt(4, 2, 6, 7)
    assert not log.kept


def test_a_request_that_repeats_only_some_records_logs_the_others() -> None:
    log = Log()
    log.send(pair(id="a"))
    mixed = log.send([pair(id="b"), pair(id="a"), pair(), pair(id="b")])
    assert mixed == Receipt(2, 4, 4, 5, (2, 0, 3, 2))
    assert [one["id"] for one in log.records(mixed)] == ["b", "a", "made-1", "b"]
    again = log.send([pair(id="a"), pair(id="b")])
    assert again == Receipt(0, 2, 4, 5, (0, 2))
    assert len(log.leaves) == 5


def test_one_request_cannot_contradict_itself() -> None:
    log = Log()
    with pytest.raises(IdConflictError, match="record 1"):
        log.send([pair(id="a"), pair("another", id="a")])
    with pytest.raises(IdConflictError, match="record 1"):
        log.send([pair(id="a", time=NOW_MS), pair(id="a", time=NOW_MS + 1)])
    assert not log.leaves


def test_a_key_recognises_the_request() -> None:
    log = Log()
    body = [pair(), pair(execution="run"), pair(id="a")]
    first = log.send(body, key="k")
    assert log.send(body, key="k") == first
    assert log.send(body, key="another").indices == (4, 5, 2)
    for other in (body[:2], [*body, pair()], [pair("another"), *body[1:]], pair()):
        with pytest.raises(KeyConflictError):
            log.send(other, key="k")
    timed = pair(time=NOW_MS - 4)
    first = log.send(timed, key="timed")
    assert log.send(timed, key="timed") == first
    for other in (pair(), pair(time=NOW_MS - 3)):
        with pytest.raises(KeyConflictError):
            log.send(other, key="timed")


def test_a_key_of_a_mixed_request_gets_its_first_receipt() -> None:
    log = Log()
    log.send(pair(id="a"))
    body = [pair(id="b"), pair(id="a"), pair()]
    first = log.send(body, key="k")
    assert first.indices == (2, 0, 3)
    assert log.send(body, key="k") == first


def test_a_traceparent_of_the_request_is_filled_in_and_counts_for_nothing() -> None:
    log = Log()
    first = log.send(pair(id="a"), trace=TRACE)
    assert log.records(first)[0]["traceparent"] == TRACE
    assert log.send(pair(id="a"), trace=TRACE.replace("b7", "c7")) == first
    assert log.send(pair(id="a")) == first
    own = TRACE.replace("0af7", "1af7")
    kept = log.records(log.send(pair(traceparent=own), trace=TRACE))[0]
    assert kept["traceparent"] == own
    with pytest.raises(IdConflictError):
        log.send(pair(id="a", traceparent=own))
    edge = {
        "kind": "edge",
        "relation": "triggered_by",
        "from": {"type": "run", "id": "b"},
        "to": {"type": "run", "id": "a"},
    }
    for value, trace in ((pair(), TRACE.upper()), ([pair()], TRACE), (edge, TRACE), (pair(), "")):
        assert "traceparent" not in log.records(log.send(value, trace=trace))[0]


def test_a_foreign_traceparent_is_set_aside_and_null_is_absent() -> None:
    log = Log()
    for trace in ("01-" + TRACE[3:] + "-extra", TRACE.upper(), "", 7, None, "00-" + "0" * 32):
        assert "traceparent" not in log.records(log.send(pair(traceparent=trace)))[0]
    nulls = pair(execution=None, artifact=None, denial=None, signatures=None)
    nulls["request"]["context"] = None
    nulls["response"]["context"] = None
    for part in ("subject", "action", "resource"):
        nulls["request"][part]["properties"] = None
    plain = log.records(log.send(nulls))[0]
    assert (plain["request"], plain["response"]) == (pair()["request"], pair()["response"])
    assert not {"execution", "artifact", "denial", "signatures"} & plain.keys()
    # Members that AuthZEN does not define stay as they are, null included.
    odd = pair()
    odd["request"]["purpose"] = None
    odd["request"]["context"] = {"inner": None}
    kept = log.records(log.send(odd))[0]
    assert kept["request"] == odd["request"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("k1", "k1"),
        ('"k1"', "k1"),
        (' "a b" ', "a b"),
        (r'"a\"b\\c"', r'a"b\c'),
        ('"k1"; p=1', "k1"),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("x" * 255, "x" * 255),
    ],
)
def test_keys_are_read_with_and_without_quotes(text: str, key: str) -> None:
    assert parse_key(text) == key


@pytest.mark.parametrize(
    "text", ["", '""', '"a', 'a"b c', '"a", "b"', "k1, k2", "x" * 256, '"é"', "é", r'"a\b"', "a\tb"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadKeyError, match="Idempotency-Key: expected one string"):
        parse_key(text)


RUNS = st.lists(st.builds(RecordSpan, st.integers(0, 9), st.integers(1, 3), st.integers(10, 12)))


@given(RUNS)
def test_runs_come_back_and_are_joined_without_loss(runs: list[RecordSpan]) -> None:
    assert list(unpack_runs(pack_runs(runs))) == runs

    def places(some: Any) -> list[tuple[int, int]]:
        return [(run.first + at, run.manifest) for run in some for at in range(run.size)]

    fewer = joined(runs)
    assert places(fewer) == places(runs)
    assert all(
        (one.first + one.size, one.manifest) != (other.first, other.manifest)
        for one, other in pairwise(fewer)
    )


def test_places_of_new_records_move_with_their_batch() -> None:
    recall = Recall(b"", b"", 0, (RecordSpan(0, 2, NEW), RecordSpan(7, 1, 9)))
    assert recall.placed(103, 110).runs == (RecordSpan(103, 2, 110), RecordSpan(7, 1, 9))


async def test_claims_wait_for_each_other_and_for_nobody_else() -> None:
    claims = Claims()
    one = await claims.take(["a", "b"])
    other = await claims.take(["c"])
    waiting = [asyncio.ensure_future(claims.take(names)) for names in (["b", "c"], ["a"])]
    await asyncio.sleep(0)
    one.release()
    one.release()
    assert await waiting[1]
    assert not waiting[0].done()
    other.release()
    assert await waiting[0]


async def test_claims_are_taken_in_the_order_in_which_they_were_asked_for() -> None:
    claims = Claims()
    taken: list[int] = []

    async def take(number: int) -> None:
        claim = await claims.take(["a", f"only {number}"])
        taken.append(number)
        await asyncio.sleep(0)
        claim.release()

    first = await claims.take(["a"])
    tasks = [asyncio.create_task(take(number)) for number in range(2000)]
    await asyncio.sleep(0)
    for given_up in tasks[5:-5]:
        given_up.cancel()
    await asyncio.sleep(0)
    assert taken == []  # nobody gets past the one who is at work, behind one who has left
    assert claims.take_free(["a"]) is None
    first.release()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert taken == [*range(5), *range(1995, 2000)]
    assert claims.take_free(["a", "only 7", "only 1999"]) is not None


class LookedAt(list[str]):
    """Names that count how often somebody looks through them."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        LookedAt.looks += 1
        return super().__iter__()


async def test_a_release_wakes_one_of_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LookedAt, "looks", 0)
    claims = Claims()
    claim = await claims.take(["a"])
    tasks = [asyncio.create_task(claims.take(LookedAt("a"))) for _ in range(100)]
    await asyncio.sleep(0)
    for task in tasks:
        claim.release()
        claim = await task
    assert LookedAt.looks <= 100 * 5


class Waiting:
    """A request in a group; it counts how often it is compared with another one."""

    compared = 0

    def __init__(self, name: bytes) -> None:
        self.plan = RequestPlan([b"{}"], [Recall(name, b"", 0, (RecordSpan(0, 1, NEW),))])

    def __eq__(self, other: object) -> bool:
        Waiting.compared += 1
        return self is other

    __hash__ = object.__hash__


def test_what_came_again_is_taken_out_at_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "compared", 0)
    stream: Any = SimpleNamespace(key=StreamKey("p.example", "token:p"))
    batch: Any = None
    waiting: list[Any] = [Waiting(number.to_bytes(16, "big")) for number in range(300)]
    group = Group([], [(stream, batch, [*waiting])])
    again = frozenset(one.plan.recalls[0].name for one in waiting[::3])
    taken = group.take_out({stream.key: again})
    left = group.framed[0][2]
    assert [*map(id, taken)] == [*map(id, waiting[::3])]
    assert [*map(id, left)] == [id(one) for at, one in enumerate(waiting) if at % 3]
    assert Waiting.compared == 0
