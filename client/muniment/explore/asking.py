"""Asking the policy's witnesses, when the explorer was told to: their heads, and their evidence.

What they show is verified as a monitor verifies it, and nothing else of them is believed. All of it
is bounded: who is slow, or lies, delays a page by a moment and nothing more.
"""

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from muniment.errors import MunimentError
from muniment.explore.site import Site
from muniment.http.access import Access
from muniment.http.answer import HttpError
from muniment.http.client import HttpSession
from muniment.http.urls import check_url
from muniment.monitor.core import AlarmLimits, Core
from muniment.monitor.heads import HeadReader
from muniment.monitor.report import MonitorRound
from muniment.monitor.watch import Watcher
from muniment.tlog.encoding import printable
from muniment.tlog.evidence import EXTENSION, MAX_EVIDENCE_SIZE
from muniment.tlog.policy import Policy

ROUND_SECONDS: Final = 60
"""How old an answer may be before the witnesses are asked again."""

WAIT_SECONDS: Final = 1.5
"""How long a page waits for a first answer; it is made without one then."""

EVIDENCE_SECONDS: Final = 5.0
"""Longest wait for one answer about evidence."""

MAX_WITNESSES: Final = 32
MAX_FILES: Final = 64
"""Files of evidence read, of a folder and of each witness."""

_PATH: Final = "/gossip/evidence"  # as docs/witness.md has it
_LIST_SIZE: Final = 1 << 20
_HASH: Final = re.compile("[0-9a-f]{64}")


class _Listed(msgspec.Struct):
    origin: str
    hash: str


class _Listing(msgspec.Struct):
    evidence: list[_Listed]


class Given(NamedTuple):
    """A file of evidence: the name or URL that it has, and its bytes, or why there are none."""

    source: str
    data: bytes
    trouble: str = ""


def urls_of(policy: Policy) -> dict[str, frozenset[str]]:
    """The URLs of a policy's witnesses, each with the names of those there; the first few."""
    found: dict[str, set[str]] = {}
    for witness in policy.witnesses:
        if witness.url:
            try:
                url = check_url(witness.url)
            except ValueError:
                continue
            found.setdefault(url, set()).add(witness.name)
    return {url: frozenset(names) for url, names in [*found.items()][:MAX_WITNESSES]}


class WitnessAsking:
    """Asks the witnesses once in a while, when a page wants to know. Belongs to the event loop.

    Attributes:
        last: What the last round came to; None before the first.
        trouble: Why there is none.
    """

    def __init__(self, site: Site) -> None:
        """Takes the site, whose policy names the witnesses."""
        self._site = site
        self._core: Core | None = None
        self._task: asyncio.Task[None] | None = None
        self.last: MonitorRound | None = None
        self.trouble = ""

    async def look(self, origin: str) -> MonitorRound | None:
        """What is known now of the log of an origin; asks anew when that is old."""
        self._ask_if_old(origin)
        if self.last is None and self._task is not None:
            await asyncio.wait([self._task], timeout=WAIT_SECONDS)
        return self.last

    def alarms(self, origin: str) -> list[str]:
        """What was wrong in the last round, the gravest first; asks anew when that is old."""
        self._ask_if_old(origin)
        found = () if self.last is None else self.last.alarms
        return [
            f"{one.party}: {one.sentence}"
            for one in sorted(found, key=lambda one: one.weight, reverse=True)
        ]

    def _ask_if_old(self, origin: str) -> None:
        is_old = self.last is None or self._site.now - self.last.time > ROUND_SECONDS
        if is_old and (self._task is None or self._task.done()):
            self._task = self._site.spawn(self._round(origin))

    async def _round(self, origin: str) -> None:
        policy = self._site.policy
        urls = urls_of(policy)
        try:
            if self._core is None:
                old = self._site.beyond.old
                limits = AlarmLimits()
                self._core = Core(HeadReader(policy, origin, old), tuple(urls), limits, urls)
            async with Watcher(
                self._site.log_url, self._core, clock=lambda: self._site.now
            ) as watcher:
                self.last = await watcher.round()
            self.trouble = ""
        except (MunimentError, ValueError) as error:
            self.trouble = printable(str(error))


async def evidence_of_witnesses(policy: Policy, origin: str) -> list[Given]:
    """The evidence about a log that its witnesses serve, or why one serves none."""
    access = Access.from_environment().without_token()
    async with HttpSession(headers={}, tls=access.ssl(), connections=4) as session:
        found = await asyncio.gather(*[_of(session, url, origin) for url in urls_of(policy)])
    return [one for given in found for one in given]


async def _of(session: HttpSession, url: str, origin: str) -> list[Given]:
    given: list[Given] = []
    try:
        listing = await _get(session, url + _PATH, _LIST_SIZE)
        listed = msgspec.json.decode(listing, type=_Listing).evidence
        names = [one.hash for one in listed if one.origin == origin and _HASH.fullmatch(one.hash)]
        for name in names[:MAX_FILES]:
            source = f"{url}{_PATH}/{name}{EXTENSION}"
            given.append(Given(source, await _get(session, source, MAX_EVIDENCE_SIZE)))
    except (MunimentError, TimeoutError, HttpError, msgspec.DecodeError) as error:
        reason = str(error) or f"no answer in {EVIDENCE_SECONDS:g} s"
        given.append(Given(url, b"", f"gave no evidence that can be read: {printable(reason)}"))
    return given


async def _get(session: HttpSession, url: str, limit: int) -> bytes:
    answer = await session.request("GET", url, limit=limit, seconds=EVIDENCE_SECONDS)
    if answer.status != 200:
        raise HttpError(f"it answered {answer.status}")
    return answer.body


def evidence_in(folder: Path) -> list[Given]:
    """The evidence files of a folder, newest first, as far as they can be read."""
    try:
        paths = [(path.stat().st_mtime, path) for path in folder.glob(f"*{EXTENSION}")]
    except OSError as error:
        return [Given(str(folder), b"", error.strerror or str(error))]
    return [*_read(path for _, path in sorted(paths, reverse=True)[:MAX_FILES])]


def _read(paths: Iterable[Path]) -> Iterable[Given]:
    for path in paths:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_EVIDENCE_SIZE + 1)
        except OSError as error:
            yield Given(path.name, b"", error.strerror or str(error))
        else:
            yield Given(path.name, data)
