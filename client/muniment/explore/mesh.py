"""The mesh: gateways, authorities, runtimes and witnesses; who is silent, who has drifted apart."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import web

from muniment.explore.asking import WitnessAsking, urls_of
from muniment.explore.members import (
    InForceFrom,
    Members,
    ProducerSeen,
    Seen,
    drifting,
    join,
    members_of,
)
from muniment.explore.site import Site
from muniment.explore.status import Status
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import FactsError
from muniment.local.sqlitefile import DatabaseError
from muniment.monitor.heads import LOG
from muniment.monitor.report import MonitorRound
from muniment.tlog.policy import show
from muniment.tlog.quorum import CLOCK_SKEW

AT_ONCE: Final = 8192
"""Leaves read in one piece: a tenth of a second of work."""

QUIET: Final = 600
"""Silences of fewer seconds are not remarked on, however busy a gateway was before."""

ROWS: Final = 100
"""Rows of one table, those seen last first."""


class MeshReading:
    """What the leaves say of who takes part: the newest at once, older ones bit by bit."""

    def __init__(self, site: Site) -> None:
        """Takes the site whose replica is read."""
        self._site = site
        self._lock = asyncio.Lock()
        self._members: Members | None = None
        self._task: asyncio.Task[None] | None = None

    async def now(self) -> Members:
        """What is known by now, up to the newest leaf; goes on reading older ones meanwhile."""
        async with self._lock:
            size = await self._site.ask(lambda reader: ReplicaFacts(reader).head.size)
            members = self._members
            if members is None or members.end > size:  # a replica that was begun anew
                members = Members(size, size)
                members = join(await self._read(max(0, size - AT_ONCE), size), members)
            while members.end < size:
                end = min(size, members.end + AT_ONCE)
                members = join(members, await self._read(members.end, end))
            self._members = members
        if members.first and (self._task is None or self._task.done()):
            self._task = self._site.spawn(self._go_back())
        return members

    async def _go_back(self) -> None:
        try:
            while True:
                async with self._lock:
                    members = self._members
                    if members is None or not members.first:
                        return
                    older = await self._read(max(0, members.first - AT_ONCE), members.first)
                    self._members = join(older, members)
        except (FactsError, DatabaseError):
            return  # the next look says why

    async def _read(self, first: int, end: int) -> Members:
        return await self._site.ask(_reading(first, end))


def _reading(first: int, end: int) -> Callable[[IndexReader], Members]:
    def read(reader: IndexReader) -> Members:
        leaves = reader.leaves(range(first, end))
        return members_of(list(leaves.values()), first)

    return read


class GatewayRow(NamedTuple):
    """A gateway, how long it has been silent (seconds), and what is remarkable of that."""

    name: str
    gateway: ProducerSeen
    silent: int
    remark: str
    is_named: bool


class PolicyRow(NamedTuple):
    """What a gateway decides by: `is_drift` when another one decides by another revision."""

    authority: str
    policy: str
    gateway: str
    now: InForceFrom
    revisions: int
    is_oldest_known: bool
    is_drift: bool


class WitnessRow(NamedTuple):
    """A witness of the policy: when it cosigned our checkpoint, and what it shows when asked."""

    name: str
    url: str
    cosigned: int | None
    shown: str


def routes(site: Site) -> list[web.RouteDef]:
    """The tab."""
    reading, asking = MeshReading(site), WitnessAsking(site)
    site.alarms.append(lambda origin: asking.alarms(origin) if site.beyond.asks_witnesses else [])

    async def tab(request: web.Request) -> web.Response:
        members = await reading.now()
        status = await site.status()
        round_ = await asking.look(status.origin) if site.beyond.asks_witnesses else None
        named = await site.ask(lambda reader: reader.gateways())
        names = None if named is None else {vkey.name for vkey in named}
        policies = policies_of(members)
        return await site.page(
            request,
            "mesh.html",
            title="Mesh",
            members=members,
            gateways=gateways_of(members, site.now, names),
            are_named=names is not None,
            policies=policies,
            drifts=drifting(members.gateways.items()),
            told=told_of(members),
            authorities=newest(members.authorities),
            runtimes=newest(members.runtimes),
            witnesses=witnesses_of(site, status, round_),
            asks=site.beyond.asks_witnesses,
            round=round_,
            trouble=asking.trouble,
            now=site.now,
            most=ROWS,
        )

    return [web.get("/mesh", tab)]


def newest(seen: dict[str, Seen]) -> list[tuple[str, Seen]]:
    """Who was seen, last first."""
    return sorted(seen.items(), key=lambda one: -one[1].last)


def gateways_of(members: Members, now: int, named: set[str] | None) -> list[GatewayRow]:
    """Every producer, the newest first."""
    rows: list[GatewayRow] = []
    for name, gateway in sorted(members.gateways.items(), key=lambda one: -one[1].last):
        silent = now - gateway.time // 1000
        remark = ""
        if silent < -CLOCK_SKEW:
            remark = "its clock is ahead of ours"
        elif silent > QUIET and gateway.count > 1 and silent * 1000 > gateway.longest:
            remark = "silent for longer than ever before"
        rows.append(GatewayRow(name, gateway, max(0, silent), remark, name in (named or ())))
    return rows


def policies_of(members: Members) -> list[PolicyRow]:
    """What each gateway decides by, those that differ first."""
    drifts = drifting(members.gateways.items())
    rows = [
        PolicyRow(
            *key,
            name,
            turns.now,
            turns.count,
            members.first > 0 and turns.count == 1,
            key in drifts,
        )
        for name, gateway in members.gateways.items()
        for key, turns in gateway.policies.items()
    ]
    return sorted(rows, key=lambda row: (not row.is_drift, row.authority, row.policy, row.gateway))


def told_of(members: Members) -> list[tuple[str, str, InForceFrom, list[InForceFrom]]]:
    """What gateways have said is in force: gateway, subject, now, and what was before."""
    return [
        (name, subject, turns.now, turns.kept[:-1])
        for name, gateway in sorted(members.gateways.items())
        for subject, turns in sorted(gateway.told.items())
    ]


def witnesses_of(site: Site, status: Status, round_: MonitorRound | None) -> list[WitnessRow]:
    """The policy's witnesses."""
    cosigned = {cosigner.name: cosigner.time for cosigner in status.cosigners}
    urls = {name: url for url, names in urls_of(site.policy).items() for name in names}
    return [
        WitnessRow(
            show(witness.name),
            urls.get(witness.name, ""),
            cosigned.get(show(witness.name)),
            _shown(urls.get(witness.name, ""), round_),
        )
        for witness in site.policy.witnesses
    ]


def _shown(url: str, round_: MonitorRound | None) -> str:
    """What a witness shows, and whether that is of one history with the log's head."""
    if round_ is None or not url:
        return ""
    head = round_.heads.get(url)
    if head is None:
        return "nothing that verifies"
    agrees = url in round_.agreeing and LOG in round_.heads
    words = "one history with the log’s head" if agrees else "not compared with the log’s head"
    if any(one.evidence is not None and url in one.party for one in round_.alarms):
        words = "another history than the log’s"
    return f"{head.size:,} leaves: {words}"
