"""The pauses between attempts: they grow to a bound, are jittered, and begin again."""

import pytest

from muniment.local.backoff import Backoff, seconds_to_wait


@pytest.mark.parametrize(
    ("factor", "pauses"), [(2.0, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]), (3.0, [0.1, 0.3, 0.9, 1.0, 1.0])]
)
def test_pauses_grow_to_the_longest(factor: float, pauses: list[float]) -> None:
    backoff = Backoff(0.1, 1.0, factor=factor)
    for pause in pauses:
        assert backoff.pause == pytest.approx(pause)
        assert pause / 2 * 0.999 <= backoff.next() <= pause * 1.001


def test_it_begins_again_after_success() -> None:
    backoff = Backoff(0.1, 10.0)
    for _ in range(5):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 0.1


def test_what_was_asked_for_is_waited_for_and_does_not_change_the_next_pause() -> None:
    backoff = Backoff(0.1, 1.0)
    assert 7.0 <= backoff.next(7.0) <= 10.5
    assert backoff.next() <= 0.2


@pytest.mark.parametrize(
    ("pause", "asked", "least", "most"),
    [
        (0.01, 0.0, 0.005, 0.01),
        (0.01, 0.004, 0.005, 0.01),
        (0.01, 7.0, 7.0, 10.5),
        (0.05, 2.0, 2.0, 3.0),
        (0.4, 0.0, 0.2, 0.4),
    ],
)
def test_those_who_wait_do_not_come_back_as_one_nor_too_early(
    pause: float, asked: float, least: float, most: float
) -> None:
    waits = [seconds_to_wait(pause, asked) for _ in range(1000)]
    assert least <= min(waits) <= max(waits) <= most
    assert max(waits) - min(waits) > 0.9 * (most - least)
    assert len(set(waits)) > 100
