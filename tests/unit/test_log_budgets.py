"""Budgets: what each producer may log, what each address may get wrong, and whose turn it is."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import signing
from clocks import Clock
from muniment.tlog.note import Ed25519Signer
from muniment_log.cli.setup import init
from muniment_log.config import load
from muniment_log.core import budgets
from muniment_log.core.budgets import Budgets, Rates
from muniment_log.core.scheduler import StepScheduler
from muniment_log.errors import OverBudgetError
from muniment_log.http.problems import problem_of
from muniment_service.budget import Bucket
from muniment_service.config import ConfigError


@given(
    st.floats(0.1, 1e6),
    st.floats(0.1, 100),
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 100_000)), max_size=40),
)
def test_no_more_is_spent_than_rate_and_burst_allow(
    rate: float, seconds: float, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    bucket = Bucket(rate, rate * seconds, clock)
    spent = last = 0
    for pause, tokens in steps:
        clock.now += pause
        if not bucket.wait():
            bucket.spend(tokens)
            spent, last = spent + tokens, tokens
            # All but the last was covered by what the bucket held and what ran into it.
            assert spent - last <= (seconds + clock.now) * rate * (1 + 1e-9)
    wait = bucket.wait()
    clock.now += wait * (1 + 1e-9) + 1e-9
    assert bucket.wait() == pytest.approx(0, abs=1e-6)


def test_a_producer_pays_for_itself_alone() -> None:
    clock = Clock()
    made = Budgets(
        Rates(records_per_second=10, burst_seconds=2),
        {"b": Rates(bytes_per_second=50)},
        None,
        clock,
    )
    made.check("a")
    made.charge("a", records=20)
    made.check("a")  # nothing left, and nothing owed
    made.charge("a", records=95)
    with pytest.raises(OverBudgetError) as caught:
        made.check("a")
    problem = problem_of(caught.value)
    assert (problem.status, problem.slug, problem.headers) == (
        429, "over-budget", {"Retry-After": "10"},
    )  # fmt: skip
    made.check("b")
    made.charge("b", records=20, size=100)  # its own bytes, everybody's records
    made.check("b")
    made.charge("b", size=1)
    with pytest.raises(OverBudgetError):
        made.check("b")
    clock.now += 9.4
    made.check("b")
    with pytest.raises(OverBudgetError):
        made.check("a")
    clock.now += 0.2
    made.check("a")


def test_without_rates_nobody_waits() -> None:
    made = Budgets(timer=Clock())
    for _ in range(3):
        made.charge("a", records=10**9, size=10**12)
        made.check("a")
        made.failed("10.0.0.1")
        made.check_address("10.0.0.1")


def test_an_address_may_fail_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MAX_ADDRESSES", 50)
    clock = Clock()
    made = Budgets(failures_per_second=0.5, timer=clock)
    for _ in range(6):
        made.check_address("2001:db8::1")
        made.failed("2001:db8::1")
    for same in ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8::1%eth0"):
        with pytest.raises(OverBudgetError):
            made.check_address(same)
    made.check_address("2001:db8:0:1::1")
    for _ in range(6):
        made.failed("::ffff:10.0.0.1")
    with pytest.raises(OverBudgetError):
        made.check_address("10.0.0.1")
    clock.now += 2.1
    made.check_address("10.0.0.1")
    for number in range(1000):
        for _ in range(6):
            made.failed(f"10.0.1.{number}")  # of which 744 are no addresses
    # The last fifty are remembered, and none before them.
    made.check_address("10.0.1.949")
    with pytest.raises(OverBudgetError):
        made.check_address("10.0.1.950")


def configured(folder: Path, more: str) -> Path:
    listen = "127.0.0.1:0"
    init(folder, origin=signing.ORIGIN, listen=listen, passphrase_file=None, passphrase=None)
    path = folder / "log.toml"
    path.write_text(path.read_text() + more)
    return path


def test_a_name_has_one_budget(tmp_path: Path) -> None:
    keys = map(signing.ed25519, "12")
    first, second = (Ed25519Signer("gw.example/a", key).vkey for key in keys)
    gateways = f'[[gateway]]\nvkey = "{first}"\n{{}}\n[[gateway]]\nvkey = "{second}"\n{{}}\n'
    limited = "records_per_second = 5.0"
    config = load(configured(tmp_path / "a", gateways.format(limited, limited)))
    assert config.rates["gw.example/a"].records_per_second == 5.0
    assert load(configured(tmp_path / "b", gateways.format(limited, ""))).rates
    assert not load(configured(tmp_path / "c", gateways.format("", ""))).rates
    with pytest.raises(ConfigError, match=r"gateway\[1\]: another budget for gw.example/a"):
        load(configured(tmp_path / "d", gateways.format(limited, "records_per_second = 6.0")))
    with pytest.raises(ConfigError, match="records_per_second"):
        load(configured(tmp_path / "e", gateways.format("records_per_second = 0", "")))


async def test_turns_are_taken_a_step_a_pass() -> None:
    scheduler = StepScheduler()
    made: list[tuple[str, int]] = []
    passes = 0

    def steps(name: str, count: int) -> Generator[None, None, str]:
        for number in range(count):
            made.append((name, number))
            if number < count - 1:
                yield
        return name

    async def others() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(others())
    names = ["a", "b", "c"]
    assert await asyncio.gather(*(scheduler.run(steps(name, 50)) for name in names)) == names
    watching.cancel()
    assert passes >= len(made) - 3
    for name in names:
        assert [number for who, number in made if who == name] == list(range(50))
    middle = [who for who, _ in made[30:60]]
    assert {middle.count(name) for name in names} == {10}  # nobody waits for another's end


async def test_a_step_that_fails_gives_the_turn_back() -> None:
    scheduler = StepScheduler()

    def failing() -> Generator[None, None, None]:
        yield
        yield
        raise ValueError

    for _ in range(2):
        with pytest.raises(ValueError, match=r"^$"):
            await scheduler.run(failing())
    waiting = asyncio.create_task(scheduler.run(failing()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(ValueError, match=r"^$"):
        await scheduler.run(failing())
