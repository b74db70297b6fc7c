"""How long integration is behind the order, as somebody sees it who looks now and then."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment_log.cluster.view import MAX_LOOKS, RESOLUTION_SECONDS, Lag


def test_the_oldest_leaf_outside_the_tree_counts() -> None:
    lag = Lag()
    assert lag.look(10.0, 0, 0) == 0
    assert lag.look(11.0, 5, 0) == 0  # seen now
    assert lag.look(13.0, 9, 0) == 2
    assert lag.look(14.0, 9, 4) == 3
    assert lag.look(15.0, 9, 5) == 2
    assert lag.look(16.0, 9, 9) == 0
    assert lag.look(99.0, 10, 9) == 0


@given(
    st.lists(
        st.tuples(st.floats(0.001, 5), st.integers(0, 50), st.floats(0, 1)), min_size=1, max_size=80
    )
)
def test_never_less_than_is_true(steps: list[tuple[float, int, float]]) -> None:
    lag, now, ordered, integrated = Lag(), 0.0, 0, 0
    first_seen: dict[int, float] = {}
    for pause, more, share in steps:
        now += pause
        first_seen.update(dict.fromkeys(range(ordered, ordered + more), now))
        ordered += more
        integrated += int((ordered - integrated) * share)
        told = lag.look(now, ordered, integrated)
        true = now - first_seen[integrated] if ordered > integrated else 0.0
        assert told == pytest.approx(true, abs=RESOLUTION_SECONDS)
        assert told >= true - 1e-9


def test_a_long_backlog_is_remembered_coarsely() -> None:
    lag = Lag()
    looks = 5 * MAX_LOOKS
    for number in range(1, looks + 1):
        assert lag.look(float(number), number, 0) == number - 1
    assert len(lag) <= MAX_LOOKS
    half = looks // 2
    told = lag.look(float(looks), looks, half)
    assert looks - half - 1 <= told <= looks - half + 32
