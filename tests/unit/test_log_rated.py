"""Witnesses that are asked within a rate of their own: how often, about what, and what is kept."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from muniment.tlog.addcheckpoint import AheadError, ConflictError, WitnessError
from muniment.tlog.checkpoint import SignedCheckpoint, parse_signed_checkpoint
from muniment_log.publish.keeping import Keeping
from muniment_log.publish.rated import DAY, RatedCosigners, RatedWitness
from muniment_log.publish.rounds import Round, Stage
from muniment_log.publish.witness import Cosigned, WitnessClient
from publishing import ManualClock
from signing import log_signer, signed, witness

PUBLIC = 15
PER_DAY = 86_400


@dataclass(eq=False)
class PublicWitness:
    """A client that notes when it is asked and about what, and takes some time to answer."""

    name: str
    clock: ManualClock
    seconds: float = 0.0
    asked: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    size: int = 0

    @property
    def url(self) -> str:
        return f"https://{self.name}"

    @property
    def label(self) -> str:
        return self.name

    async def add_checkpoint(
        self,
        own: SignedCheckpoint,
        prove: Callable[[int, int], Awaitable[Sequence[bytes]]],
        *,
        attempts: int,
    ) -> Cosigned:
        assert attempts == 1
        self.asked.append(self.clock.time())
        self.sizes.append(own.checkpoint.size)
        await self.clock.sleep(self.seconds)
        if self.errors:
            raise self.errors.pop(0)
        self.size = own.checkpoint.size
        return Cosigned((witness(self.name).sign(own.note.text, 1),), frozenset({self.name}))


@dataclass
class Publishing:
    """What the publisher is to them: it publishes heads, and is told what became of them."""

    clock: ManualClock
    late: list[tuple[int, str]] = field(default_factory=list)
    failures: list[tuple[str, bool]] = field(default_factory=list)
    round: Round | None = None
    size: int = 0

    async def prove(self, old: int, new: int) -> Sequence[bytes]:
        return ()

    def publish(self) -> Round:
        self.size += 1
        current = Round(signed(log_signer(), size=self.size), self.clock.time())
        current.stage = Stage.STORED
        self.round = current
        return current

    def answered(self, current: Round, client: WitnessClient, cosigned: Cosigned) -> None:
        current.add(client, cosigned)
        self.late.append((current.size, client.label))

    async def failed(self, client: WitnessClient, error: WitnessError, *, first: bool) -> None:
        self.failures.append((client.label, first))


@dataclass
class Simulation:
    clock: ManualClock
    publishing: Publishing
    cosigners: RatedCosigners
    kept: list[bytes]
    ticks: int = 0

    async def run(self, seconds: float, *, step: float, heads: bool = True) -> None:
        """Moves the clock on; a head is published with each step, where there are `heads`."""
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            if heads:
                self.cosigners.published(self.publishing.publish())
            await settle()


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


class Simulating:
    """A simulation with its tasks, ended with the block."""

    def __init__(self, *witnesses: tuple[PublicWitness, int]) -> None:
        self._witnesses = witnesses
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Simulation:
        clock = self._witnesses[0][0].clock
        publishing = Publishing(clock)
        kept: list[bytes] = []

        async def keep(note: bytes) -> None:
            kept.append(note)

        cosigners = RatedCosigners(
            cast("Any", publishing), rated(*self._witnesses), clock, Keeping(None, keep)
        )
        await self._group.__aenter__()
        cosigners.start(self._group)
        self._cosigners = cosigners
        return Simulation(clock, publishing, cosigners, kept)

    async def __aexit__(self, *_: object) -> None:
        self._cosigners.use(())
        self._cosigners.stop()
        await self._group.__aexit__(None, None, None)


def rated(*witnesses: tuple[PublicWitness, int]) -> list[RatedWitness]:
    return [RatedWitness(cast("WitnessClient", each), per_day) for each, per_day in witnesses]


def most_within(times: Sequence[float], seconds: float) -> int:
    """The most of these times in any window of some seconds."""
    return max(sum(start <= time < start + seconds for time in times) for start in times)


def names_on(note: bytes) -> list[str]:
    return [line.name for line in parse_signed_checkpoint(note).note.signatures][1:]


async def test_fifteen_public_witnesses_at_one_request_a_second() -> None:
    """A busy log publishes 20 heads a second; each witness is asked about one of them a second."""
    clock = ManualClock()
    public = [PublicWitness(f"w{n}.example", clock, seconds=0.02 * n) for n in range(PUBLIC)]
    async with Simulating(*((each, PER_DAY) for each in public)) as simulation:
        await simulation.run(120, step=0.05)
        for each in public:
            pauses = [b - a for a, b in zip(each.asked, each.asked[1:], strict=False)]
            assert min(pauses) >= 1.0  # 86,400 a day
            assert most_within(each.asked, 60.0) <= 60
            assert len(each.asked) >= 100  # and its rate is used
            assert each.asked[0] >= 1.0  # as if it had been asked just before the start
            assert each.sizes == sorted(set(each.sizes))  # never a head twice, never an older one
        # Heads that were asked about were new: none had waited for its turn.
        late = [
            20 * at - size
            for each in public
            for at, size in zip(each.asked, each.sizes, strict=True)
        ]
        assert max(late) <= 6
        # One head has the cosignatures of all of them.
        assert len(simulation.kept) >= 100
        assert {len(names_on(note)) for note in simulation.kept[PUBLIC:]} == {PUBLIC}


@pytest.mark.parametrize("per_day", [24, 480])
async def test_a_whole_day(per_day: int) -> None:
    clock = ManualClock()
    one = PublicWitness("w.example", clock, seconds=0.5)
    async with Simulating((one, per_day)) as simulation:
        await simulation.run(1.5 * DAY, step=DAY / per_day / 4)
        assert 0.75 * per_day <= most_within(one.asked, DAY) <= per_day


async def test_nothing_is_asked_of_a_log_that_stands_still() -> None:
    clock = ManualClock()
    one = PublicWitness("w.example", clock)
    async with Simulating((one, PER_DAY)) as simulation:
        await simulation.run(10, step=0.5, heads=False)
        assert one.asked == []
        await simulation.run(0.5, step=0.5)
        await simulation.run(100, step=0.5, heads=False)
        assert one.sizes == [1]
        # The next head is cosigned at once.
        await simulation.run(0.5, step=0.5)
        assert one.sizes == [1, 2]
        assert one.asked[-1] == clock.time()


async def test_the_rarer_ones_are_asked_together_with_the_others() -> None:
    clock = ManualClock()
    public = [PublicWitness(f"w{n}.example", clock) for n in range(3)]
    often, rare = public[:2], public[2]
    rates = [(each, PER_DAY) for each in often] + [(rare, PER_DAY // 10)]
    async with Simulating(*rates) as simulation:
        await simulation.run(60, step=0.05)
        assert 4 <= len(rare.asked) <= 6
        assert set(rare.sizes) <= set(often[0].sizes)
        sizes = [parse_signed_checkpoint(note).checkpoint.size for note in simulation.kept]
        assert sizes == sorted(sizes)
        # Who is not asked is not waited for.
        assert len(set(sizes)) >= 50


async def test_conflicts_and_failures_count_for_the_rate() -> None:
    clock = ManualClock()
    one = PublicWitness("w.example", clock)
    one.errors = [ConflictError("1 conflict"), WitnessError("down"), WitnessError("down")]
    async with Simulating((one, PER_DAY)) as simulation:
        await simulation.run(20, step=0.05)
        pauses = [b - a for a, b in zip(one.asked, one.asked[1:], strict=False)]
        assert min(pauses) >= 1.0
        assert simulation.publishing.failures == [("w.example", True), ("w.example", False)]
        assert simulation.cosigners.described[0]["error"] is None
        assert simulation.cosigners.described[0]["per_day"] == PER_DAY
        assert simulation.publishing.late


async def test_who_asks_for_time_gets_it() -> None:
    clock = ManualClock()
    one = PublicWitness("w.example", clock)
    one.errors = [WitnessError("status 429", retry_after=90.0)]
    async with Simulating((one, PER_DAY)) as simulation:
        await simulation.run(200, step=0.5)
        assert one.asked[1] - one.asked[0] >= 90.0


async def test_one_that_does_not_answer_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pauses may be half as long, and once in some runs a fifth request fits in.
    monkeypatch.setattr("muniment.local.backoff.seconds_to_wait", max)
    clock = ManualClock()
    good = [PublicWitness(f"w{n}.example", clock) for n in range(2)]
    away = PublicWitness("away.example", clock, seconds=5.0, errors=[WitnessError("late")] * 999)
    async with Simulating(*((each, PER_DAY) for each in (*good, away))) as simulation:
        await simulation.run(30, step=0.05)
        assert {len(names_on(note)) for note in simulation.kept[3:]} == {2}
        assert len(simulation.kept) >= 25
        assert len(away.asked) <= 4


async def test_others_are_asked_after_a_reload_and_rates_go_on() -> None:
    clock = ManualClock()
    one, other = (PublicWitness(f"w{n}.example", clock) for n in range(2))
    async with Simulating((one, PER_DAY)) as simulation:
        await simulation.run(5, step=0.05)
        before = len(one.asked)
        for _ in range(20):  # as often as somebody reloads
            simulation.cosigners.use(rated((one, PER_DAY), (other, PER_DAY)))
            await simulation.run(0.05, step=0.05)
        await simulation.run(4, step=0.05)
        pauses = [b - a for a, b in zip(one.asked, one.asked[1:], strict=False)]
        assert min(pauses) >= 1.0
        assert len(one.asked) > before
        assert min(b - a for a, b in zip(other.asked, other.asked[1:], strict=False)) >= 1.0
        simulation.cosigners.use(rated((other, PER_DAY)))
        count = len(one.asked)
        await simulation.run(4, step=0.05)
        assert len(one.asked) == count


async def test_what_one_says_of_the_past_is_passed_on() -> None:
    clock = ManualClock()
    one = PublicWitness("w.example", clock, errors=[AheadError("it has more", 99)])
    async with Simulating((one, PER_DAY)) as simulation:
        await simulation.run(3, step=0.05)
        assert simulation.publishing.failures == [("w.example", True)]
