"""The overview: what was decided and when, who asks, which gateways log, what is missing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aiohttp import web
from markupsafe import Markup

from muniment.audit.trust import Misbehaviour
from muniment.explore.counting import ProducerCounts, StreamCounts, names_of
from muniment.explore.monitored import monitored
from muniment.explore.searching import newest, search_url
from muniment.explore.site import Site
from muniment.explore.status import Status
from muniment.explore.svg import Bar, bars
from muniment.explore.table import TableReader
from muniment.index.reader import IndexReader
from muniment.lineage.facts import Found
from muniment.permit.context import MAX_FACTS_AGE
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision, Entity, Record

MOST_BARS: Final = 48
"""Bars of the picture: each is as many hours as that takes."""

_STEPS: Final = (1, 3, 6, 12, 24, 72, 168, 672, 2016, 8064)  # hours that a bar may be
_ASKERS: Final = 10
_NEWEST: Final = 12  # leaves looked at for the list of what came last
_AHEAD: Final = 24  # hours: what is later than that by its own clock is not drawn
UNCODED: Final = "no code given"


class AskerCount(NamedTuple):
    """Who asks, and how often with which answer."""

    subject: Entity
    allowed: int
    denied: int
    url: str


class Count(NamedTuple):
    """An answer, how many decisions gave it, and the search that finds them."""

    name: str
    kind: str
    decisions: int
    url: str


@dataclass(frozen=True, slots=True)
class View:
    """What the page shows.

    Attributes:
        picture: Decisions over time.
        span: What one bar is, in words; the first and the last time of the picture.
        counts: Decisions by answer and code, of all times.
        outside: Decisions of times that the picture does not reach.
        askers: Those who ask most often; of `asker_count`.
        gateways: By producer.
        streams: Streams with numbers missing, or used again.
        kinds: Leaves by kind.
        newest: What came last.
        lag: Seconds from the newest record's own time to that of the checkpoint; None unknown.
    """

    picture: Markup
    span: str
    first: int
    last: int
    counts: list[Count]
    outside: int
    askers: list[AskerCount]
    asker_count: int
    gateways: Mapping[str, ProducerCounts]
    streams: Mapping[tuple[str, str], StreamCounts]
    stream_count: int
    kinds: Mapping[str, int]
    newest: list[Found[Record]]
    lag: int | None


def routes(site: Site) -> list[web.RouteDef]:
    """The tab."""

    async def tab(request: web.Request) -> web.Response:
        now = site.now
        view = await site.look(lambda reader, table: look(reader, table, now))
        status = await site.status()
        monitor = await monitored(site, status.origin)
        return site.answer(
            request,
            "overview.html",
            title="Overview",
            status=status,
            view=view,
            now=now,
            alarms=[
                *alarms(status, view, site.following.misbehaviour),
                *[words for more in site.alarms for words in more(status.origin)],
                *([] if monitor is None else monitor.alarms),
            ],
            monitor=monitor,
            asks=site.beyond.asks_witnesses,
        )

    return [web.get("/", tab)]


def alarms(status: Status, view: View, proven: Misbehaviour | None) -> list[str]:
    """What is wrong now, the gravest first: a sentence each."""
    found: list[str] = []
    if proven is not None:
        found.append(f"Proven: {proven.kind}: {proven.sentence}.")
    elif status.is_condemned:
        found.append("Proven: the log signed two histories.")
    elif status.trouble:
        found.append(f"The log is not followed now: {status.trouble}")
    if status.age is None:
        found.append("No quorum states a time for this tree.")
    elif status.age > MAX_FACTS_AGE:
        found.append(
            f"The checkpoint is older than the {MAX_FACTS_AGE} s up to which runtimes rely on it."
        )
    found += [
        f"{one.missing:,} numbers are missing in stream {label} of {producer}."
        for (producer, label), one in view.streams.items()
        if one.missing
    ]
    return found


def look(reader: IndexReader, table: TableReader, now: int) -> View:
    """Reads all that the page shows, at a time in Unix seconds."""
    end = now // 3600 + _AHEAD
    found = table.span(end)
    first, last = found or (end - 1, end - 1)
    hours = next((one for one in _STEPS if (last - first) // one < MOST_BARS), _STEPS[-1])
    first = max(first, last - hours * MOST_BARS + 1) // hours * hours
    counted: dict[int, Counter[str]] = {at: Counter() for at in range(first, last + 1, hours)}
    for hour, codes, count in table.hours(first, last + 1):
        for name in _answers(codes)[:1]:  # of several codes the first one is drawn
            counted[(hour - first) // hours * hours + first][name] += count
    totals: Counter[str] = Counter()
    for codes, count in table.answers():
        for name in _answers(codes):
            totals[name] += count
    drawn = [_bar(at * 3600, hours, parts) for at, parts in counted.items()]
    came = newest(reader, _NEWEST)
    head = reader.head()
    streams = table.streams()
    return View(
        picture=bars(drawn, "Decisions over time, by answer; the same as figures is below"),
        span="an hour" if hours == 1 else f"{hours} hours" if hours < 48 else f"{hours // 24} days",
        first=first * 3600,
        last=(last + 1) * 3600,
        counts=[_count(name, count) for name, count in totals.most_common()],
        outside=table.outside(first, last + 1),
        askers=_askers(reader, table),
        asker_count=table.asker_count(),
        gateways=table.gateways(),
        streams={key: one for key, one in streams.items() if one.first or one.missing or one.again},
        stream_count=len(streams),
        kinds=table.kinds(),
        newest=came,
        lag=head.time - came[0].record.time // 1000 if came and head and head.time else None,
    )


def _answers(codes: int) -> list[str]:
    """``allow``, or the codes of a denial."""
    return (names_of(codes) or [UNCODED]) if codes else ["allow"]


def _kind(name: str) -> str:
    """The class of an answer in pictures."""
    return "allowed" if name == "allow" else f"code-{name.replace(' ', '-').replace('_', '-')}"


def _count(name: str, count: int) -> Count:
    if name == "allow":
        url = search_url(answer="allow")
    else:
        url = search_url(answer="deny") if name == UNCODED else search_url(code=name)
    return Count(name, _kind(name), count, url)


def _bar(start: int, hours: int, parts: Counter[str]) -> Bar:
    try:
        at = datetime.fromtimestamp(start, UTC)
    except (ValueError, OverflowError, OSError):
        label, words = "?", f"{start} s after 1970"
    else:
        label = at.strftime("%H:%M" if hours < 3 else "%m-%d" if hours < 2016 else "%Y-%m")
        words = at.strftime("%Y-%m-%d %H:%M UTC")
    said = ", ".join(f"{count:,} {name}" for name, count in parts.most_common()) or "none"
    ordered = sorted(parts.items(), key=lambda one: (one[0] != "allow", one[0]))
    return Bar(label, f"from {words}: {said}", tuple((_kind(n), count) for n, count in ordered))


def _askers(reader: IndexReader, table: TableReader) -> list[AskerCount]:
    rows = table.askers(_ASKERS)
    leaves = reader.leaves([row.last for row in rows])
    records = dict(zip(leaves, parse_leaves(list(leaves.values())), strict=True))
    found: list[AskerCount] = []
    for row in rows:
        record = records[row.last]
        if isinstance(record, Decision):
            subject = record.subject
            url = search_url(subject=f"{subject.type}:{subject.id}")
            found.append(AskerCount(subject, row.allowed, row.denied, url))
    return found
