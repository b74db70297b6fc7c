"""Authorities that are slow: waited for while they are needed, and no longer."""

import asyncio
from typing import Any, cast

import pytest

from logsim import GATEWAY_SIGNER
from muniment.http.client import HttpSession
from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.core.quorum import Quorum
from muniment_gateway.deciding import panel as panels
from muniment_gateway.deciding.counts import Counts
from muniment_gateway.deciding.panel import NOT_AWAITED, PROBE, Panel, Seat
from muniment_gateway.engines.port import Evaluation, NoAnswerError, PassedOn, UnfitError
from muniment_service.metrics import Metrics


class Engine:
    """Says what it is told to once it may."""

    def __init__(self, word: bool | None) -> None:
        self.word = word
        self.may = asyncio.Event()
        self.ended = ""
        self.untold = ""
        self.error: type[NoAnswerError] = NoAnswerError
        self.asked: list[Any] = []

    async def evaluate(self, request: Any, asked: PassedOn) -> Evaluation:
        del asked
        self.asked.append(request)
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "answered"
        if self.word is None:
            raise self.error("it is away")
        return Evaluation({"decision": self.word})

    async def policy(self) -> None:
        if self.untold:
            raise NoAnswerError(self.untold)


class Room:
    """A panel of such engines; those of `signs` have a key."""

    def __init__(self, words: str, needed: int, *, grace: float = 0.0, signs: str = "") -> None:
        self.engines = {name: Engine(name.islower()) for name in words}
        self.metrics = Metrics("m")
        self.panel = Panel(
            (), HttpSession(headers={}), Counts(self.metrics), Quorum(needed, len(words)), grace
        )
        vkey = GATEWAY_SIGNER.vkey
        self.panel.seats = tuple(
            Seat(
                Authority(
                    AuthorityEntry(name=name, kind="authzen", deadline_seconds=300),
                    vkey=vkey if name in signs else None,
                ),
                cast(Any, engine),
            )
            for name, engine in self.engines.items()
        )

    def begin(self, ready: str) -> "asyncio.Task[list[Any]]":
        """Asks all of them; those that are ready answer."""
        for name in ready:
            self.engines[name].may.set()
        return asyncio.create_task(self.panel.ask({}, PassedOn({})))

    def counted(self, name: str, answer: str) -> float:
        labels = {"authority": name, "answer": answer}
        return self.metrics.registry.get_sample_value("m_answers_total", labels) or 0.0


@pytest.mark.parametrize(
    ("words", "needed", "ready", "late"),
    [
        ("abc", 2, "ab", "c"),  # two allow
        ("aBC", 2, "BC", "a"),  # two deny
        ("abcd", 1, "c", "abd"),
    ],
)
async def test_who_is_not_needed_any_more_is_not_waited_for(
    words: str, needed: int, ready: str, late: str
) -> None:
    room = Room(words, needed)
    answers = await room.begin(ready)
    assert [one.authority for one in answers] == list(words)
    assert {one.authority for one in answers if one.error == NOT_AWAITED} == set(late)
    # It is asked all the same, and counted once it answers.
    for name in late:
        assert not room.engines[name].ended
        room.engines[name].may.set()
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    for name in late:
        assert room.counted(name, "allow" if name.islower() else "deny") == 1
        assert name not in room.panel.troubles


@pytest.mark.parametrize(
    ("words", "needed", "ready", "signs"),
    [
        ("ab", 2, "a", ""),  # all
        ("aBc", 2, "aB", ""),
        ("aB", 2, "B", ""),  # a no is certain, and not why
        ("abc", 2, "ab", "c"),  # it signs
    ],
)
async def test_who_is_needed_is_waited_for(words: str, needed: int, ready: str, signs: str) -> None:
    room = Room(words, needed, signs=signs)
    asking = room.begin(ready)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asking.done()
    for engine in room.engines.values():
        engine.may.set()
    assert all(not one.error for one in await asking)


async def test_what_comes_within_the_grace_is_recorded() -> None:
    room = Room("abc", 1, grace=300.0)
    asking = room.begin("a")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not asking.done()
    room.engines["b"].may.set()
    room.engines["c"].may.set()
    assert [one.allows for one in await asking] == [True, True, True]


async def test_a_call_that_is_taken_back_ends_what_it_asks() -> None:
    room = Room("abc", 3)
    asking = room.begin("")
    for _ in range(5):
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert {engine.ended for engine in room.engines.values()} == {"cancelled"}


async def test_so_many_late_answers_are_left_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "MOST_LATE", 2)
    room = Room("ab", 1)
    room.engines["a"].may.set()
    for _ in range(5):
        await room.begin("a")
    await asyncio.sleep(0)
    assert room.panel.late <= 2
    room.engines["b"].may.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not room.panel.late


async def test_who_gives_no_answer_is_in_the_log_once_a_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room("a", 1)

    async def looks(word: bool | None, asked: int) -> int:
        caplog.clear()
        room.engines["a"].word = word
        for _ in range(asked):
            await room.begin("a")
        await room.panel.look()
        return [record.getMessage() for record in caplog.records].count(
            "an authority gives no answer"
        )

    assert await looks(True, 2) == 0
    assert await looks(None, 3) == 1
    assert await looks(None, 1) == 0
    assert await looks(True, 1) == 0
    assert await looks(None, 1) == 1


async def test_who_is_silent_is_so_until_it_answers() -> None:
    room = Room("A", 1)
    engine = room.engines["A"]
    engine.word = None
    assert not room.panel.troubles
    await room.begin("A")
    assert room.panel.unusable == {"A": "it is away"}
    # An alert on it looks for minutes; the policy can be told all the time.
    for _ in range(12):
        await room.panel.look()
        assert room.panel.troubles == {"A": "it is away"}
        await room.panel.policies()
        assert room.panel.troubles == {"A": "it is away"}
        # And yet who is sent here is asked again: nobody would know otherwise.
        assert not room.panel.unusable
    assert engine.asked == [{}, *[PROBE] * 12]
    engine.word = False
    await room.begin("A")
    assert not room.panel.troubles


@pytest.mark.parametrize("error", [None, UnfitError])
async def test_a_silent_engine_is_seen_to_be_back_though_nobody_asks(
    error: type[NoAnswerError] | None,
) -> None:
    room = Room("aB", 1)
    room.engines["a"].word = room.engines["B"].word = None
    await room.begin("aB")
    if error is None:
        room.engines["a"].word = True
    else:
        room.engines["a"].error = error  # it has no rule for the probe
    await room.panel.look()
    assert set(room.panel.troubles) == {"B"}
    assert room.counted("a", "allow") == 0  # nobody has asked it about anything
    assert room.counted("a", "none") == 1
    # Who answers is not asked for nothing.
    await room.panel.look()
    assert room.engines["a"].asked == [{}, PROBE]


async def test_an_answer_says_nothing_of_the_policy() -> None:
    room = Room("a", 1)
    room.engines["a"].untold = "no policy"
    await room.panel.look()
    await room.begin("a")
    assert room.panel.troubles == room.panel.unusable == {"a": "no policy"}
    room.engines["a"].untold = ""
    await room.panel.look()
    assert not room.panel.troubles


async def test_what_is_too_strange_for_an_engine_says_nothing_of_it() -> None:
    room = Room("a", 1)
    room.engines["a"].error = UnfitError
    room.engines["a"].word = None
    await room.begin("a")
    assert not room.panel.troubles
    room.engines["a"].error = NoAnswerError
    await room.begin("a")
    room.engines["a"].error = UnfitError
    await room.begin("a")
    assert room.panel.troubles == {"a": "it is away"}
