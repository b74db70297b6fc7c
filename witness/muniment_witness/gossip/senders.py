"""Which peer sent a push, judged by the address that it came from; and what each may send.

A push carries no signature of its sender, and needs none: its content is verified by itself. The
address only decides whose budget it uses up. Peers have a budget each; everybody else shares one,
so that strangers can use up nobody's but their own, however many addresses they have.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from muniment_service.budget import Bucket
from muniment_witness.config import Peer

STRANGERS: Final = ""
"""The name of all senders that are no peer; no key name is empty."""

MAX_ADDRESSES: Final = 16
"""Addresses of one peer that are remembered; more of its name's are taken for strangers."""

RESOLVE_SECONDS: Final = 300.0
"""Between two looks at the addresses of the peers' host names."""


class Senders:
    """Tells peers from strangers by the addresses that the peers' URLs stand for."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        """Takes the peers; literal addresses in their URLs are known at once."""
        self._hosts = {peer.name: urlsplit(peer.url).hostname or "" for peer in peers}
        self._addresses: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}
        for name, host in self._hosts.items():
            if _is_literal(host):
                self.learn(name, [host])

    def learn(self, name: str, addresses: Iterable[str]) -> None:
        """Replaces what is known of a peer's addresses; those of several peers are the first's."""
        self._addresses[name] = tuple(dict.fromkeys(map(_canonical, addresses)))[:MAX_ADDRESSES]
        self._names = {
            address: name
            for name in reversed(self._hosts)
            for address in self._addresses.get(name, ())
        }

    def name_of(self, address: str) -> str:
        """The name of the peer at an address, or STRANGERS."""
        return self._names.get(_canonical(address), STRANGERS)

    async def run(self) -> None:
        """Looks up the peers' host names now and then, until cancelled."""
        hosts = {name: host for name, host in self._hosts.items() if not _is_literal(host)}
        while hosts:
            for name, host in hosts.items():
                try:
                    found = await asyncio.get_running_loop().getaddrinfo(
                        host, None, type=socket.SOCK_STREAM
                    )
                except (OSError, UnicodeError):
                    continue  # what was known holds; the rounds say that the peer is unreachable
                self.learn(name, [str(entry[4][0]) for entry in found])
            await asyncio.sleep(RESOLVE_SECONDS)


class SenderBudget:
    """A bucket for each name.

    The names (tuples of text) come from the configuration, so their number is bounded.
    """

    def __init__(self, per_second: float, burst: float, timer: Callable[[], float]) -> None:
        """Makes full buckets; see `Bucket`."""
        self._settings = (per_second, burst, timer)
        self._buckets: dict[tuple[str, ...], Bucket] = {}

    def take(self, name: tuple[str, ...]) -> bool:
        """Takes a token when there is one; whether there was."""
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(*self._settings)
        return bucket.take()


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _canonical(address: str) -> str:
    """One spelling of each address; IPv4 in IPv6 is IPv4. Other text is left as it is."""
    try:
        value = ip_address(address)
    except ValueError:
        return address
    if isinstance(value, IPv6Address) and value.ipv4_mapped is not None:
        return str(value.ipv4_mapped)
    return str(value)
