"""Erasing by schedule: what has been kept long enough, and nothing before its legal minimum."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from erasing_tools import START, Log, bench
from muniment_log.core.addenda import Addendum
from muniment_log.core.erasing import CHECK_SECONDS, NotErasableError
from muniment_log.core.retention import Retention, Rule, parse_duration, say_duration
from packing import ALICE, BOB, DAY, made
from waiting import at_work, until

HR = Rule("domain=hr", retain=30 * DAY)


async def test_what_has_been_kept_long_enough_is_erased_and_the_log_says_by_which_rule(
    tmp_path: Path,
) -> None:
    hr, other = made(1, labels=("domain=hr", "mesh=eu")), made(2, labels=("domain=it",))
    async with bench(tmp_path, [HR]) as at:
        await at.keep(hr, other)
        at.now += 30 * DAY - 1
        assert await at.eraser.erase_due() == 0
        at.now += 1
        assert await at.eraser.erase_due() == 1
        assert hr.data not in at.bytes()
        assert other.data in at.bytes()
        assert await at.eraser.erase_due() == 0
    (record,) = at.log.erasures()
    assert (record.by, record.reason) == ("retention of label domain=hr", "retain = 30d")


async def test_what_an_outcome_withholds_has_the_labels_of_the_decisions_on_its_run(
    tmp_path: Path,
) -> None:
    decided = made(1, run="run-1", labels=("domain=hr",))
    again = made(2, subject=BOB, run="run-1", labels=("mesh=eu", "domain=hr"))
    result = made(3, subject=None, run="run-1")
    others = [
        made(4, run="run-2", labels=("domain=it",)),
        made(5, subject=None, run="run-2"),
        made(6, subject=None, run="run-3"),
        made(7, subject=None),
        made(8, run="run-1"),  # a decision says itself how it is labelled
    ]
    async with bench(tmp_path, [Rule("mesh", None, 20 * DAY)]) as at:
        await at.keep(decided)
        await at.keep(again, result, *others)
        at.now += DAY
        labels = {one.digest: one.labels for one in (await at.stored.after(0, at.now, 9))[0]}
        assert sorted(labels.pop(result.digest)) == ["domain=hr", "mesh=eu"]
        assert labels == {
            one.digest: (("domain=it",) if one is others[1] else one.labels)
            for one in (decided, again, *others)
        }
        with pytest.raises(NotErasableError, match="legal minimum of 20d"):
            await at.erase(result)
        await at.erase(decided)
        at.now += 30 * DAY
        at.eraser.use(Retention([HR]))
        assert await at.eraser.erase_due() == 2  # what was erased still has its labels
        assert result.data not in at.bytes()
        assert all(one.data in at.bytes() for one in others)


async def test_until_it_has_looked_an_eraser_may_have_something_to_do(tmp_path: Path) -> None:
    async with bench(tmp_path) as at:
        assert at.eraser.pending == 1
        async with at_work(at.eraser.run()):
            await until(lambda: at.eraser.pending == 0)


async def test_a_running_log_looks_at_its_rules_again(tmp_path: Path) -> None:
    one = made(1, labels=("domain=hr",))
    async with bench(tmp_path) as at:
        await at.keep(one)
        at.now += 30 * DAY
        async with at_work(at.eraser.run()):
            at.eraser.use(Retention([HR]))
            await until(lambda: one.data not in at.bytes())
    assert CHECK_SECONDS > 60  # so that the schedule has not come by in this test


@pytest.mark.parametrize("rule", [Rule("domain", None, 90 * DAY), Rule(None, None, 90 * DAY)])
async def test_nothing_is_erased_before_its_legal_minimum(tmp_path: Path, rule: Rule) -> None:
    one = made(1, labels=("domain=hr",))
    async with bench(tmp_path, [HR, rule]) as at:
        await at.keep(one)
        at.now += 90 * DAY - 1
        assert await at.eraser.erase_due() == 0
        with pytest.raises(NotErasableError, match=r"legal minimum of 90d .* nothing was erased"):
            await at.erase(one)
        with pytest.raises(NotErasableError, match=r"1 of 1 .* until 2026-12-20T14:13:20Z"):
            await at.erase(subject=ALICE)
        assert await at.store.read(one.digest) == one.data
        at.now += 1
        assert await at.eraser.erase_due() == 1


async def test_a_command_may_leave_out_what_the_minimum_keeps(tmp_path: Path) -> None:
    async with bench(tmp_path, [Rule(None, None, DAY)]) as at:
        await at.keep(made(1))
        at.now += DAY
        await at.keep(made(2))
        with pytest.raises(NotErasableError, match=r"--before 2026-09-22T14:13:20Z leaves"):
            await at.erase(subject=ALICE)
        done = await at.erase(subject=ALICE, before_ms=START + DAY)
        assert done.addenda == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
async def test_by_schedule_exactly_what_is_due_goes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    days = st.integers(1, 9)
    label = st.sampled_from([None, "a", "a=1", "a=2", "b"])
    rules = [
        Rule(one, retain and retain * DAY, minimum * DAY)
        for one, retain, minimum in data.draw(
            st.lists(st.tuples(label, st.none() | days, st.just(0) | days), max_size=4)
        )
    ]
    labels = st.sampled_from([(), ("a=1",), ("a=2",), ("a=1", "b=x"), ("b=y",)])
    log = Log()
    kept: list[tuple[Addendum, int]] = []
    place = tmp_path_factory.mktemp("schedule")

    def is_due(one: Addendum, age: int) -> bool:
        covering = [rule for rule in rules if rule.covers(one.labels)]
        retain = min((rule.retain for rule in covering if rule.retain is not None), default=None)
        minimum = max((rule.legal_minimum for rule in covering), default=0)
        return retain is not None and age >= max(retain, minimum)

    async with bench(place, rules, log) as at:
        for number in range(data.draw(st.integers(1, 12))):
            one = made(number, labels=data.draw(labels))
            await at.keep(one)
            kept.append((one, at.now))
            at.now += data.draw(st.integers(0, 3)) * DAY
            if data.draw(st.booleans()):
                await at.eraser.erase_due()
        await at.eraser.erase_due()
        for one, since in kept:
            is_kept = await at.store.read(one.digest) == one.data
            assert is_kept is not is_due(one, at.now - since)


def test_durations_are_written_as_they_are_read() -> None:
    for text in ("180d", "1d", "25h", "90s"):
        assert say_duration(parse_duration(text)) == text
    assert say_duration(parse_duration("48h")) == "2d"
