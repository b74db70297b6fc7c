"""The parts of a report that count: exact, with bounded memory."""

from collections import defaultdict
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import logsim
from muniment.audit.relations import Warned
from muniment.records.api import parse_record
from muniment.records.kinds import Decision, Entity
from muniment.report.relating import MAX_ROWS, Marks, Warnings
from muniment.report.scope import MAX_SUBJECTS, scope_of
from muniment.report.silences import Silences
from muniment.report.tally import MAX_RANGES, LeafRanges, Tally
from muniment.tlog.encoding import FormatError

START = logsim.NOW


def ranges_of(indices: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1][1] += 1
        else:
            found.append([index, index + 1])
    return found


@given(gaps=st.lists(st.integers(0, 3), max_size=120))
def test_leaves_are_the_first_ranges_and_the_last_one(gaps: list[int]) -> None:
    leaves, indices, at = LeafRanges(), list[int](), 0
    for gap in gaps:
        at += gap + 1
        indices.append(at)
        leaves.add(at)
    ranges = ranges_of(indices)
    assert leaves.members() == {
        "count": len(indices),
        "ranges": ranges[:MAX_RANGES],
        "last": indices[-1] if indices else None,
        "whole": len(ranges) <= MAX_RANGES,
    }


@given(seed=st.integers(0, 2**32), keys=st.integers(1, 8), count=st.integers(0, 300))
def test_a_tally_that_spills_counts_like_a_dictionary(seed: int, keys: int, count: int) -> None:
    random = Random(seed)
    naive: defaultdict[tuple[str | None, ...], list[tuple[int, int, bool]]] = defaultdict(list)
    with Tally(keys=keys) as tally:
        for index in range(count):
            key = (random.choice(["a", "é\u202e", None]), str(random.randrange(6)))
            time, allowed = random.randrange(1000), random.random() < 0.5
            naive[key].append((index, time, allowed))
            tally.add("one", key, index, time, allowed=allowed)
            tally.add("two", ("x",), index, time, allowed=allowed)
        assert tally.distinct("one") == len(naive)
        rows = list(tally.top("one", 100))
        assert [row.count for row in rows] == sorted((row.count for row in rows), reverse=True)
        assert len(list(tally.top("one", 2))) == min(2, len(naive))
    for row in rows:
        found = naive.pop(row.key)
        indices = [index for index, _, _ in found]
        assert row.allowed == sum(allowed for _, _, allowed in found)
        assert (row.earliest, row.latest) == (
            min(time for _, time, _ in found),
            max(time for _, time, _ in found),
        )
        assert row.leaves["count"] == len(indices)
        assert row.leaves["last"] == indices[-1]
        assert row.leaves["ranges"] == ranges_of(indices)[: len(row.leaves["ranges"])]
        assert row.leaves["whole"] == (row.leaves["ranges"] == ranges_of(indices))
    assert not naive


def decision(time: int, producer: str) -> Decision:
    value = logsim.decision(0, producer=producer).replace(
        f'"time":{START * 1000}'.encode(), f'"time":{time}'.encode()
    )
    record = parse_record(value)
    assert isinstance(record, Decision)
    return record


@given(
    times=st.lists(st.integers(-50_000, 250_000), max_size=40),
    length=st.integers(1, 200),
    silence=st.integers(1, 60),
    until=st.integers(-10, 220),
)
def test_silences_are_slots_without_a_decision(
    times: list[int], length: int, silence: int, until: int
) -> None:
    scope = scope_of(START, START + length, silence=silence)
    silences = Silences(scope)
    for time in times:
        silences.add(decision(START * 1000 + time, logsim.GATEWAY))
    seen = {time // 1000 // silences.slot for time in times if 0 <= time < length * 1000}
    was_before = any(time < 0 for time in times)
    expected: list[tuple[int, int]] = []
    slots = -(-length // silences.slot)
    end = min(length, until)
    at = 0
    while at < slots:
        stop = at
        while stop < slots and stop not in seen:
            stop += 1
        is_begun = was_before or any(slot < at for slot in seen)
        span = at * silences.slot, min(stop * silences.slot, end)
        if stop > at and is_begun and span[1] - span[0] >= silence:
            expected.append(span)
        at = stop + 1
    found = silences.members(START + until)
    assert [(row["from"] - START, row["to"] - START) for row in found["rows"]] == sorted(
        expected, key=lambda one: (one[0] - one[1], one[0])
    )
    assert found["count"] == len(expected)


def test_a_gateway_that_is_expected_is_silent_from_the_first_moment_on() -> None:
    silences = Silences(scope_of(START, START + 7200), ["gw.example/edge"])
    [row] = silences.members(START + 7200)["rows"]
    assert (row["producer"], row["seconds"]) == ("gw.example/edge", 7200)
    [query] = row["queries"]
    assert query == (
        "muniment find --replica REPLICA --since 2026-09-21T14:13:20Z --until "
        "2026-09-21T16:13:20Z --producer=gw.example/edge --limit 1 --json"
    )


@given(indices=st.sets(st.integers(0, 999)))
def test_marks_are_a_set_of_leaves(indices: set[int]) -> None:
    marks = Marks(1000)
    for index in indices:
        marks.add(index)
    assert {index for index in range(1000) if index in marks} == indices
    assert marks.leaves().members()["count"] == len(indices)


def test_warnings_keep_the_first_ones_and_count_all() -> None:
    marks = Marks(1000)
    for index in range(0, 1000, 2):
        marks.add(index)
    warnings = Warnings(frozenset({"a", "b"}), 1000)
    for start in (500, 0):
        warnings.add(
            [Warned(kind, index, "…") for index in range(start, start + 500) for kind in "abc"],
            marks,
        )
    found = warnings.members()
    assert found["by_kind"] == {"a": 500, "b": 500}
    assert found["leaves"]["count"] == 500
    first = [(index, kind) for index in range(0, MAX_ROWS, 2) for kind in "ab"]
    assert [(row["index"], row["kind"]) for row in found["rows"]] == first


@pytest.mark.parametrize(
    ("start", "end", "subjects", "silence"),
    [(2, 2, 0, 60), (3, 2, 0, 60), (1, 2, 0, 0), (1, 2, MAX_SUBJECTS + 1, 60)],
)
def test_a_scope_in_which_nothing_can_be_is_refused(
    start: int, end: int, subjects: int, silence: int
) -> None:
    with pytest.raises(FormatError):
        scope_of(start, end, [Entity("agent", str(at)) for at in range(subjects)], silence)


@given(length=st.integers(1, 3 * 366 * 86_400))
def test_bars_fill_the_window(length: int) -> None:
    scope = scope_of(START, START + length)
    assert 1 <= scope.bars <= 100
    assert (scope.bars - 1) * scope.step < length <= scope.bars * scope.step
    assert scope.has_time(START * 1000)
    assert scope.has_time((START + length) * 1000 - 1)
    assert not scope.has_time((START + length) * 1000)
    assert not scope.has_time(START * 1000 - 1)
