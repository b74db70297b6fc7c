"""Rate and byte budgets: what each producer may log in the long run.

A producer that is over its budget waits; nobody else does. The budget is a name's, and is charged
when it is certain that the name sent the request: after the signature, or the token. So nobody can
use up another's. Before that a request costs the log a body and one signature; how many of these
that fail it takes from one address is bounded too, if the operator wants it to be.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from muniment_log.errors import OverBudgetError
from muniment_service.budget import Bucket
from muniment_service.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_ADDRESSES: Final = 4096
"""Addresses remembered for what failed; a quarter of a megabyte. The ones longest quiet go."""

_IPV6_NETWORK: Final = 64  # bits: what one client of IPv6 has addresses from


BURST_SECONDS: Final = 10.0
"""How long a silence a burst makes up for, unless the configuration says otherwise."""

Rate = Annotated[float, Meta(gt=0, le=1e12)]


class Rates(Config, frozen=True):
    """What one producer may log: keys of `[limits]`, for all, and of `[[gateway]]` or `[[token]]`.

    Attributes:
        records_per_second: records, manifests not counted; any number by default.
        bytes_per_second: bytes of request bodies; any number by default.
        burst_seconds: how many seconds' worth may come at once after a silence; ten by default.
    """

    records_per_second: Rate | None = None
    bytes_per_second: Rate | None = None
    burst_seconds: Annotated[float, Meta(gt=0, le=3600)] | None = None

    @property
    def budget(self) -> tuple[float | None, float | None, float | None]:
        """The three; all None when nothing is said."""
        return self.records_per_second, self.bytes_per_second, self.burst_seconds

    @property
    def has_limit(self) -> bool:
        """Whether it limits anything; how long a burst may be does not, by itself."""
        return self.records_per_second is not None or self.bytes_per_second is not None


class _Account:
    """The two buckets of one producer."""

    __slots__ = ("_bytes", "_records")

    def __init__(self, own: Rates, default: Rates, timer: Callable[[], float]) -> None:
        # What is not said of the producer is said of all, or of nobody.
        records, size, seconds = (
            special if special is not None else general
            for special, general in zip(own.budget, default.budget, strict=True)
        )

        def bucket(rate: float | None) -> Bucket | None:
            return None if rate is None else Bucket(rate, rate * (seconds or BURST_SECONDS), timer)

        self._records = bucket(records)
        self._bytes = bucket(size)

    def wait(self) -> float:
        if self._records is None and self._bytes is None:  # as of most
            return 0.0
        return max((b.wait() for b in (self._records, self._bytes) if b is not None), default=0.0)

    def charge(self, records: int, size: int) -> None:
        if self._records is not None:
            self._records.spend(records)
        if self._bytes is not None:
            self._bytes.spend(size)


class Budgets:
    """The budgets of all producers, and of client addresses that send unauthenticated requests.

    Producers are those of the configuration, so that there is a bounded number of them.
    """

    def __init__(
        self,
        default: Rates | None = None,
        rates: Mapping[str, Rates] | None = None,
        failures_per_second: float | None = None,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        """Fills every budget.

        Args:
            default: what holds for all; None for no limit.
            rates: what else holds for a producer.
            failures_per_second: how many requests of one address may fail to be anybody's, ten
                seconds' worth at once; None for any number.
            timer: a monotonic clock, in seconds.
        """
        self._default = default or Rates()
        self._rates = dict(rates or {})
        self._failures = failures_per_second
        self._timer = timer
        self._accounts: dict[str, _Account] = {}
        self._failed: OrderedDict[str, Bucket] = OrderedDict()

    def replace(self, rates: Mapping[str, Rates]) -> None:
        """Takes other rates of producers; whose rates are other now begins with full budgets."""
        for producer in self._rates.keys() | rates.keys():
            if self._rates.get(producer) != rates.get(producer):
                self._accounts.pop(producer, None)
        self._rates = dict(rates)

    def check(self, producer: str) -> None:
        """Refuses a producer that has used up its budget.

        Raises OverBudgetError with the seconds until it may log again.
        """
        _must_be_paid(self._account(producer).wait(), f"{producer} is over its budget")

    def charge(self, producer: str, *, records: int = 0, size: int = 0) -> None:
        """Takes what a request costs from the budget of its producer, however little is left.

        A request larger than what is left passes, and the next one waits until it is paid back. The
        producer is known for certain, and `check` has not refused it; `size` is in bytes.
        """
        self._account(producer).charge(records, size)

    def check_address(self, address: str) -> None:
        """Refuses an address from which too much has failed of late.

        Raises OverBudgetError with the seconds until it may try again.
        """
        bucket = self._failed.get(_network(address)) if self._failed else None
        if bucket is not None:
            _must_be_paid(bucket.wait(), "too many failed requests from this address")

    def failed(self, address: str) -> None:
        """Counts an unauthenticated request."""
        if self._failures is None:
            return
        network = _network(address)
        bucket = self._failed.pop(network, None)
        if bucket is None:
            bucket = Bucket(self._failures, self._failures * BURST_SECONDS, self._timer)
            if len(self._failed) >= MAX_ADDRESSES:
                self._failed.popitem(last=False)
        bucket.spend(1.0)
        self._failed[network] = bucket  # last: the first is the one longest quiet

    def _account(self, producer: str) -> _Account:
        account = self._accounts.get(producer)
        if account is None:
            own = self._rates.get(producer, self._default)
            account = self._accounts[producer] = _Account(own, self._default, self._timer)
        return account


def _must_be_paid(wait: float, what: str) -> None:
    if wait:
        raise OverBudgetError(what, retry_after_s=max(1, math.ceil(wait)))


def _network(address: str) -> str:
    """What stands for one client: an IPv4 address, or the network of an IPv6 one."""
    try:
        value = ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket has none
    if not isinstance(value, IPv6Address):
        return str(value)
    if value.ipv4_mapped is not None:
        return str(value.ipv4_mapped)
    return str(IPv6Address(int(value) >> _IPV6_NETWORK << _IPV6_NETWORK))
