"""Decisions by what they say: one bundle after another, but for those summed up as without any."""

import re
from typing import Final, NamedTuple

from muniment.index.reader import IndexReader
from muniment.index.summary import Summary, may_have, positions
from muniment.lineage.facts import Found
from muniment.records.artifact import Artifact
from muniment.records.codec import parse_leaves
from muniment.records.kinds import Decision, Entity, Record
from muniment.tlog.encoding import FormatError
from muniment.tlog.tiles import TILE_WIDTH

MAX_EFFORT: Final = 256
"""Entry bundles that one search looks into: a tenth of a second, as a rule."""

_TRACE_ID: Final = 32  # hexadecimal digits
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SUMMARIES: Final = 4096  # read together: 4 MB, a million records


class Search(NamedTuple):
    """What decisions are looked for; None leaves a part open.

    Attributes:
        subject: Who asked.
        resource: To what.
        since: Made then or later, Unix milliseconds by the producer's clock.
        until: Made before.
        id: The decision's id.
        run: The run that it authorises.
        action: The name of the action.
        producer: Who logged it.
        allowed: The answer.
        code: A code of its denial.
        policy: The id of the policy by which it was decided.
        revision: That policy's revision.
        digest: The digest of that policy.
        authority: On whose authority.
        trace: The trace id of its `traceparent`, 32 hexadecimal digits.
        addendum: The SHA-256 of a withheld member's addendum, 64 hexadecimal digits: the call's
            arguments, as a rule.
    """

    subject: Entity | None = None
    resource: Entity | None = None
    since: int | None = None
    until: int | None = None
    id: str | None = None
    run: str | None = None
    action: str | None = None
    producer: str | None = None
    allowed: bool | None = None
    code: str | None = None
    policy: str | None = None
    trace: str | None = None
    revision: str | None = None
    digest: str | None = None
    authority: str | None = None
    addendum: str | None = None

    def may_be_in(self, summary: Summary) -> bool:
        """Whether a bundle may hold what is looked for."""
        if summary.latest < summary.earliest:
            return False
        if self.since is not None and summary.latest < self.since:
            return False
        if self.until is not None and summary.earliest >= self.until:
            return False
        return all(
            thing is None or may_have(summary.things, positions(role, *thing))
            for role, thing in (("subject", self.subject), ("resource", self.resource))
        )

    def finds(self, record: Record | None) -> bool:
        """Whether a record is what is looked for."""
        return (
            isinstance(record, Decision)
            and self.subject in (None, record.subject)
            and self.resource in (None, record.resource)
            and (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
            and (self[_INDEXED:] == _OPEN or self._has_all(record))
        )

    def _has_all(self, record: Decision) -> bool:
        """Whether a decision has those parts that no index knows."""
        codes = record.denial.codes if record.denial is not None else ()
        trace = record.traceparent
        return (
            self.id in (None, record.id)
            and self.run in (None, record.execution)
            and self.action in (None, record.action)
            and self.producer in (None, record.producer)
            and self.allowed in (None, record.allowed)
            and (self.code is None or self.code in codes)
            and self._has_artifact(record.artifact)
            and (self.addendum is None or self.addendum in (record.addenda or {}).values())
            and (self.trace is None or (trace is not None and trace.split("-")[1] == self.trace))
        )

    def _has_artifact(self, artifact: Artifact | None) -> bool:
        """Whether an artifact says what is asked for of it; none says nothing."""
        asked = (self.policy, self.revision, self.digest, self.authority)
        if artifact is None:
            return not any(one is not None for one in asked)
        policy = artifact.policy
        said = (policy.id, policy.revision, policy.digest, artifact.attribution.authority)
        return all(one in (None, other) for one, other in zip(asked, said, strict=True))


def parse_entity(text: str) -> Entity:
    """Reads a subject or resource as people write it, ``agent:planner``; else FormatError."""
    type_, colon, id_ = text.partition(":")
    if not (type_ and colon and id_):
        raise FormatError("expected TYPE:ID, as agent:planner")
    return Entity(type_, id_)


def parse_digest(text: str) -> str:
    """Reads an addendum's digest, with or without ``sha256:``; FormatError if it is none."""
    digest = text.removeprefix("sha256:").lower()
    if _DIGEST.fullmatch(digest) is None:
        raise FormatError("expected the SHA-256 of an addendum, 64 hexadecimal digits")
    return digest


def parse_trace(text: str) -> str:
    """Reads a trace id, or the one of a traceparent; FormatError if it is neither."""
    parts = text.split("-")
    trace = (parts[1] if len(parts) == 4 else text).lower()
    if len(trace) != _TRACE_ID:
        raise FormatError("expected 32 hexadecimal digits, or a traceparent")
    return trace


_INDEXED: Final = 4
_OPEN: Final = Search()[_INDEXED:]


def find_decisions(
    reader: IndexReader, search: Search, *, after: int, size: int, limit: int, effort: int
) -> tuple[list[Found[Record]], int | None]:
    """Finds the decisions among the leaves (after, size), at most `limit` of them.

    Looks into at most `effort` entry bundles, so fewer may be found than there are. Raises
    DatabaseError if the index cannot be read.

    Returns:
        The decisions, and the last leaf that was looked at; None if that was the last of all.
    """
    found: list[Found[Record]] = []
    summaries: dict[int, Summary] = {}
    known = 0  # the first bundle whose summary was not read yet
    start = min(after + 1, size)
    for bundle in range(start // TILE_WIDTH, -(-size // TILE_WIDTH)):
        if bundle >= known:
            known = bundle + _SUMMARIES
            summaries = reader.summaries(bundle, known)
        summary = summaries.get(bundle)
        if summary is not None and not search.may_be_in(summary):
            continue
        first = max(start, bundle * TILE_WIDTH)
        if first == size:
            break
        if not effort or len(found) >= limit:
            return _cut(found, limit, first - 1)
        effort -= 1
        leaves = reader.leaves(range(first, min(size, (bundle + 1) * TILE_WIDTH)))
        records = parse_leaves(list(leaves.values()))
        found += [
            Found(index, record)
            for index, record in zip(leaves, records, strict=True)
            if record is not None and search.finds(record)
        ]
    return _cut(found, limit, None)


def _cut(
    found: list[Found[Record]], limit: int, last: int | None
) -> tuple[list[Found[Record]], int | None]:
    return found[:limit], found[limit - 1].index if len(found) > limit else last
