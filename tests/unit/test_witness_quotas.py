"""How often a log may ask a witness: its quota, an hour's worth at once, repeats apart."""

import pytest

from muniment_witness.config import LogOptions
from muniment_witness.gossip.quotas import DAY, Quotas


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(quotas: Quotas, origin: str, *, grows: bool, most: int = 10_000) -> int:
    return next(n for n in range(most) if quotas.take(origin, grows=grows))


@pytest.mark.parametrize(("per_day", "burst"), [(24, 10), (86_400, 3_600)])
def test_a_quota_of_a_day(per_day: int, burst: int) -> None:
    time = Time()
    quotas = Quotas(time)
    quotas.use({"a": LogOptions(per_day=per_day), "b": LogOptions()})
    assert taken(quotas, "a", grows=True) == burst
    assert quotas.take("a", grows=True) == DAY / per_day  # seconds to wait
    count = 0
    for _ in range(per_day * 2):
        time.now += DAY / per_day / 2
        count += quotas.take("a", grows=True) == 0
    assert count == per_day
    assert not any(quotas.take("b", grows=True) for _ in range(2 * burst))


def test_repeats_leave_the_quota_of_growing_heads_alone() -> None:
    quotas = Quotas(Time())
    quotas.use({"a": LogOptions(per_day=24)})
    assert taken(quotas, "a", grows=False) == 10
    assert taken(quotas, "a", grows=True) == 10


def test_what_is_refused_leaves_the_quota_of_growing_heads_alone() -> None:
    time = Time()
    quotas = Quotas(time)
    quotas.use({"a": LogOptions(per_day=24)})
    for _ in range(100):
        assert quotas.take("a", grows=True) == 0
        quotas.give_back("a")
    time.now += DAY  # a bucket that is full takes no more
    assert taken(quotas, "a", grows=True) == 10
    quotas.use({"a": LogOptions()})
    quotas.give_back("a")
    quotas.give_back("b")
    assert quotas.take("a", grows=True) == 0


def test_a_reload_fills_no_quota_that_stays() -> None:
    quotas = Quotas(Time())
    options = {"a": LogOptions(per_day=24), "b": LogOptions(per_day=24)}
    quotas.use(options)
    assert taken(quotas, "a", grows=True) == taken(quotas, "b", grows=True) == 10
    quotas.use({**options, "b": LogOptions(per_day=2_400)})
    assert quotas.take("a", grows=True)
    assert taken(quotas, "b", grows=True) == 100
    quotas.use({"b": LogOptions()})
    assert quotas.take("a", grows=True) == quotas.take("b", grows=True) == 0
