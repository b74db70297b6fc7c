"""Searches as URLs have them, and their results, the newest first."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeVar
from urllib.parse import urlencode

from muniment.explore.table import TableReader
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.index.search import Search, parse_digest, parse_entity, parse_trace
from muniment.lineage.facts import Found
from muniment.lineage.reader import BudgetedReader
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision, Record
from muniment.records.timetext import parse_time
from muniment.tlog.encoding import FormatError

T = TypeVar("T")

FIELDS: Final = (
    "id",
    "subject",
    "action",
    "resource",
    "producer",
    "answer",
    "code",
    "policy",
    "revision",
    "digest",
    "authority",
    "addendum",
    "since",
    "until",
    "trace",
    "run",
)
"""The parameters of a search, each at most once; empty ones are none."""

PAGE: Final = 50
"""Decisions of a page."""

ANSWERS: Final = {"allow": True, "deny": False}

_MOST: Final = 100_000  # decisions of one id or run that are looked at


class Results(NamedTuple):
    """Decisions that were found, the newest first; and where to go on.

    Attributes:
        found: The decisions.
        before: The `before` of the next page; None at the end.
    """

    found: list[Found[Decision]]
    before: int | None


def parse_search(given: Mapping[str, str]) -> Search:
    """Reads the parameters of a search; FormatError names what is wrong with which."""
    text = {name: given[name].strip() for name in FIELDS if given.get(name, "").strip()}

    def read(name: str, parse: Callable[[str], T]) -> T | None:
        try:
            return parse(text[name]) if name in text else None
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from None

    if text.get("answer", "allow") not in ANSWERS:
        raise FormatError("answer: expected allow or deny")
    return Search(
        subject=read("subject", parse_entity),
        resource=read("resource", parse_entity),
        since=read("since", _milliseconds),
        until=read("until", _milliseconds),
        id=text.get("id"),
        run=text.get("run"),
        action=text.get("action"),
        producer=text.get("producer"),
        allowed=ANSWERS.get(text.get("answer", "")),
        code=text.get("code"),
        policy=text.get("policy"),
        trace=read("trace", parse_trace),
        revision=text.get("revision"),
        digest=text.get("digest"),
        authority=text.get("authority"),
        addendum=read("addendum", parse_digest),
    )


def _milliseconds(text: str) -> int:
    return parse_time(text) * 1000


def search_url(**given: str) -> str:
    """The URL of a search."""
    return f"/find?{urlencode(given)}"


def search(
    reader: IndexReader, table: TableReader, wanted: Search, before: int | None, limit: int = PAGE
) -> Results:
    """Finds the newest decisions below a leaf (None: of all) that are what is looked for.

    An id or a run is looked up; everything else is searched for by columns, four million leaves at
    a time, so that fewer may be found than there are on the pages to come.
    """
    head = reader.head()
    size = 0 if head is None else head.size
    end = size if before is None else min(before, size)
    if wanted.id is not None or wanted.run is not None:
        return _look_up(reader, wanted, end, limit)
    candidates = table.find(wanted, before=end, limit=limit)
    leaves = reader.leaves(candidates.leaves)
    records = parse_leaves(list(leaves.values()))
    found = [
        Found(index, record)
        for index, record in zip(leaves, records, strict=True)
        if isinstance(record, Decision) and wanted.finds(record)
    ]
    return Results(found[::-1], candidates.looked or None)


def _look_up(reader: IndexReader, wanted: Search, end: int, limit: int) -> Results:
    facts, whole = ReplicaFacts(reader), BudgetedReader(_MOST)
    if wanted.id is not None:
        [decisions] = whole.all(facts.decisions, [wanted.id])
    else:
        [decisions] = whole.all(facts.decisions_of, [wanted.run or ""])
    found = [one for one in reversed(decisions) if one.index < end and wanted.finds(one.record)]
    return Results(found[:limit], found[limit - 1].index if len(found) > limit else None)


def newest(reader: IndexReader, count: int) -> list[Found[Record]]:
    """The records among the newest leaves, the newest first."""
    head = reader.head()
    size = 0 if head is None else head.size
    leaves = reader.leaves(range(max(0, size - count), size))
    records = parse_leaves(list(leaves.values()))
    found = [Found(at, one) for at, one in zip(leaves, records, strict=True) if one is not None]
    return found[::-1]
