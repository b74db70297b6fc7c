"""Two processes' channel: questions, answers, errors, cancelling, and the end of one side."""

import asyncio
import socket
from collections.abc import Callable
from operator import itemgetter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels import Pair
from muniment_log.core.addenda import MissingAddendumError
from muniment_log.core.ingest import BadRecordError
from muniment_log.core.ports import Receipt
from muniment_log.core.repeats import IdConflictError
from muniment_log.errors import (
    LogError,
    NotOrderedError,
    OverBudgetError,
    StreamConflictError,
    StreamGapError,
    UnavailableError,
)
from muniment_log.http.problems import problem_of
from muniment_log.workers.channel import Channel, open_channel


async def echo(value: Any) -> Any:
    return value


class Endless:
    """An answer that never comes, and whether its making has begun and was stopped."""

    def __init__(self) -> None:
        self.begun, self.stopped = asyncio.Event(), asyncio.Event()

    async def __call__(self, _: Any) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopped.set()


class Recorder:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False


async def test_an_answer_comes_back_as_what_was_asked_for() -> None:
    async def receipt(_: Any) -> Receipt:
        return Receipt(3, 2, 5, 6, (3, 9))

    async with Pair({"receipt": receipt}) as pair:
        assert await pair.asking.ask_for(Receipt, "receipt") == Receipt(3, 2, 5, 6, (3, 9))


plain = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary() | st.text()
values = plain | st.lists(plain, max_size=4) | st.dictionaries(st.text(), plain, max_size=4)


@settings(deadline=None)
@given(asked=st.lists(st.tuples(values, st.integers()), min_size=1, max_size=20))
async def test_many_questions_are_open_at_once_and_each_gets_its_own_answer(
    asked: list[tuple[Any, int]],
) -> None:
    """In whatever order they are answered."""

    sent, turns = [value for value, _ in asked], [turn for _, turn in asked]

    gates: list[asyncio.Event] = []
    all_there = asyncio.Event()

    async def later(value: Any) -> Any:
        gate = asyncio.Event()
        gates.append(gate)
        if len(gates) == len(sent):
            all_there.set()
        await gate.wait()
        return value

    async with Pair({"later": later}) as pair:
        asking = [asyncio.create_task(pair.asking.ask("later", value)) for value in sent]
        await all_there.wait()
        for _, gate in sorted(zip(turns, gates, strict=True), key=itemgetter(0)):
            gate.set()
            await asyncio.sleep(0)
        assert await asyncio.gather(*asking) == sent


@settings(deadline=None)
@given(
    sent=st.lists(st.binary(max_size=300), min_size=1, max_size=20),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=30),
)
async def test_messages_may_come_in_any_pieces(sent: list[bytes], cuts: list[int]) -> None:
    told: list[bytes] = []
    talking, hearing = Channel({}, {}, {}), Channel({}, {"word": told.append}, {})
    recorder: Any = Recorder()
    talking.connection_made(recorder)
    for word in sent:
        talking.tell("word", word)
    await asyncio.sleep(0)
    rest = b"".join(recorder.written)
    assert len(recorder.written) == 1  # one turn of the event loop, one write
    number = 0
    while rest:
        cut = cuts[number % len(cuts)]
        hearing.data_received(rest[:cut])
        rest = rest[cut:]
        number += 1
    assert told == sent


async def test_a_large_message_passes() -> None:
    body = bytes(range(256)) * (40 << 12)  # 40 MiB: more than the largest request

    async with Pair({"echo": echo}) as pair:
        assert await pair.asking.ask("echo", body) == body


@pytest.mark.parametrize(
    "error",
    [
        StreamGapError(3, 7),
        StreamConflictError(3, "another batch"),
        OverBudgetError("too much", retry_after_s=7),
        BadRecordError(4, "record 4: no"),
        IdConflictError(2, "other content"),
        MissingAddendumError(1, b"\x01" * 32),
        UnavailableError("stopped"),
        NotOrderedError("not now"),
    ],
)
async def test_an_error_of_the_log_is_raised_on_the_other_side(error: LogError) -> None:
    """As the same answer over HTTP."""

    async def fail(_: Any) -> None:
        raise error

    async with Pair({"fail": fail}) as pair:
        with pytest.raises(type(error)) as caught:
            await pair.asking.ask("fail")
    assert type(caught.value) is type(error)
    one, other = problem_of(error), problem_of(caught.value)
    assert one.response() == other.response()


async def test_a_defect_on_the_other_side_leaves_the_outcome_unknown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(_: Any) -> None:
        raise ValueError("a defect")

    async with Pair({"fail": fail, "echo": echo}) as pair:
        with pytest.raises(UnavailableError, match="a defect"):
            await pair.asking.ask("fail")
        assert await pair.asking.ask("echo", 1) == 1

    assert "a question failed" in caplog.text


async def test_whoever_stops_asking_stops_the_work() -> None:
    work = Endless()
    async with Pair({"work": work, "echo": echo}) as pair:
        asking = asyncio.create_task(pair.asking.ask("work"))
        await work.begun.wait()
        asking.cancel()
        await work.stopped.wait()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await pair.asking.ask("echo", "on") == "on"


async def test_questions_may_be_answered_without_a_task_now_or_later() -> None:
    """One that fails is an error to who asked it, and to nobody else."""
    waiting: list[Callable[[object], None]] = []

    def later(value: Any, answer: Callable[[object], None]) -> None:
        if value == "now":
            answer("at once")
        elif value == "refused":
            raise OverBudgetError("too much", retry_after_s=7)
        elif value == "a defect":
            raise ValueError(value)
        else:
            waiting.append(answer)

    one, other = socket.socketpair()
    asking = await open_channel(one, {}, {})
    answering = await open_channel(other, {"echo": echo}, {}, {"later": later})
    some = ["now", "refused", "a defect", *range(4)]
    outcomes = asyncio.gather(
        *(asking.ask("later", value) for value in some), return_exceptions=True
    )
    assert await asking.ask("echo", "on") == "on"
    assert not outcomes.done()
    for answer, outcome in zip(waiting, (5, None, BadRecordError(4, "no"), "\ud800"), strict=True):
        answer(outcome)
    now, refused, defect, five, none, bad, untold = await outcomes
    assert (now, five, none) == ("at once", 5, None)
    assert isinstance(refused, OverBudgetError)
    assert refused.retry_after_s == 7
    assert isinstance(bad, BadRecordError)
    assert bad.entry == 4
    assert isinstance(defect, UnavailableError)
    assert isinstance(untold, UnavailableError)
    asked = asyncio.create_task(asking.ask("later", 4))
    await asking.ask("echo")
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    waiting[-1]("for nobody")
    assert await asking.ask("echo", 1) == 1
    await asking.close()
    await answering.ended.wait()
    waiting[-1]("to a process that is gone")


async def test_what_is_answered_in_one_turn_is_written_at_once() -> None:
    waiting: list[Callable[[object], None]] = []
    asking, hearing = (
        Channel({}, {}, {}),
        Channel({}, {}, {"x": lambda _, a: waiting.append(a)}),
    )
    recorder: Any = Recorder()
    asking.connection_made(recorder)
    hearing.connection_made(recorder)
    answers = asyncio.gather(*(asking.ask("x", n) for n in range(50)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hearing.data_received(recorder.written.pop())
    assert recorder.written == []
    for number, answer in enumerate(waiting):
        answer(number)
    await asyncio.sleep(0)
    asking.data_received(recorder.written.pop())
    assert recorder.written == []
    assert await answers == list(range(50))


async def test_the_end_of_one_side_ends_what_the_other_waits_for_and_works_on() -> None:
    work = Endless()
    async with Pair({"work": work}) as pair:
        asking = asyncio.create_task(pair.asking.ask("work"))
        await work.begun.wait()
        await pair.asking.close()
        with pytest.raises(UnavailableError):
            await asking
        await pair.answering.ended.wait()
        await work.stopped.wait()
        with pytest.raises(UnavailableError):
            await pair.answering.ask("anything")
        pair.answering.tell("anything")  # nobody is there to be told


async def test_what_waits_to_be_sent_is_sent_before_the_end() -> None:
    told: list[Any] = []
    async with Pair({}, {"word": told.append}) as pair:
        pair.asking.tell("word", "last")
        await pair.asking.close()
        await pair.answering.ended.wait()
    assert told == ["last"]


async def test_a_side_that_reads_nothing_holds_up_no_end() -> None:
    one, other = socket.socketpair()
    with other:
        channel = await open_channel(one, {}, {})
        asking = asyncio.create_task(channel.ask("anything", bytes(8 << 20)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await channel.abort()
        with pytest.raises(UnavailableError):
            await asking


async def test_a_struct_travels_as_its_values() -> None:
    class Parts(msgspec.Struct, array_like=True):
        size: int
        hashes: list[bytes]

    async with Pair({"echo": echo}) as pair:
        parts = Parts(1, [b"a", b"b"])
        assert await pair.asking.ask_for(Parts, "echo", parts) == parts
