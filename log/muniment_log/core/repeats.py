"""Exactly once for those who cannot sign: what was sent before gets its first receipt. Pure.

A request is recognised by its Idempotency-Key, and a record by the id that its producer gave it.
The same content gets its first receipt, and other content is refused. Content is what the client
said: an id, a time or a traceparent that the log filled in counts for nothing.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct, field

from muniment.records.content import content_of
from muniment_log.core.ports import Receipt
from muniment_log.core.recall import NAME_SIZE, NEW, Recall, RecordSpan, joined, placed
from muniment_log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_KEY: Final = 255
"""Longest Idempotency-Key in characters; a UUID has 36."""

_LONE: Final = (RecordSpan(0, 1, NEW),)
"""Where a lone record stands that is new."""

# An Item of structured headers (RFC 9651) that is a string, as the IETF's draft of the header has
# it; and without quotes, as most clients send it.
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"(?:[ ]*;.*)?', re.DOTALL)
_BARE: Final = re.compile(r"[!#-+\--~][!-~]*")
_ESCAPED: Final = re.compile(r'\\(["\\])')


class BadKeyError(LogError):
    """The Idempotency-Key header is no key."""


class IdConflictError(LogError):
    """A record's id stands for other content already."""

    def __init__(self, entry: int, reason: str) -> None:
        super().__init__(f"record {entry}: {reason}")
        self.entry = entry


class KeyConflictError(LogError):
    """The Idempotency-Key was used for another request already."""


class Stated(NamedTuple):
    """Which members a client stated itself that a log would fill in.

    Attributes:
        id: whether it stated the record's id.
        time: whether it stated the time.
        traceparent: whether a traceparent, if there is one, was in the record.
    """

    id: bool
    time: bool
    traceparent: bool = True


_ALL_STATED: Final = Stated(id=True, time=True)


class Said(NamedTuple):
    """A record with an id of its producer's.

    Attributes:
        name: stands for the id.
        content: SHA-256 of the record, without its time and what was filled in.
        time: the time that the client stated; None if it did not.
        logged: the time that the record has.
    """

    name: bytes
    content: bytes
    time: int | None
    logged: int


class RequestRecords(Struct, frozen=True):
    """Records of one request, and what they are recognised by.

    Attributes:
        records: canonical records.
        said: in step with them; None for records that got their id from the log.
        key: name and content of the request; None without an Idempotency-Key.
    """

    records: Sequence[bytes]
    said: Sequence[Said | None] = ()
    key: tuple[bytes, bytes] | None = None

    @property
    def names(self) -> list[bytes]:
        """All that it may be recognised by, each once."""
        names = [one.name for one in self.said if one is not None]
        if self.key is not None:
            names.append(self.key[0])
        return names if len(names) < 2 else list(dict.fromkeys(names))


class RequestPlan(Struct):
    """What to do about a request.

    Attributes:
        records: what is still to be logged.
        recalls: what recognises them, by their places among `records`.
        runs: where all records of the request stand, those of `records` by their places.
    """

    records: list[bytes] = field(default_factory=list[bytes])
    recalls: list[Recall] = field(default_factory=list[Recall])
    runs: tuple[RecordSpan, ...] = ()

    def receipt(self, logged: Receipt | None) -> Receipt:
        """The receipt of the request, once what was new of it has its own."""
        runs = self.runs
        if logged is not None:
            if len(runs) == 1 and runs[0].manifest == NEW:  # all of it, as of most
                return logged
            runs = placed(runs, logged.first, logged.manifest)
        return receipt_of(runs)


def parse_key(text: str) -> str:
    """Reads an Idempotency-Key header; BadKeyError if it is none."""
    text = text.strip()
    if found := _QUOTED.fullmatch(text):
        text = _ESCAPED.sub(r"\1", found[1])
    elif not _BARE.fullmatch(text):
        text = ""
    if not 1 <= len(text) <= MAX_KEY:
        raise BadKeyError(
            f"Idempotency-Key: expected one string of 1 to {MAX_KEY} visible ASCII characters"
        )
    return text


def request_of(
    records: Sequence[bytes],
    stated: Sequence[Stated],
    members: Sequence[tuple[str, int]],
    key: str | None,
) -> RequestRecords:
    """Finds out what a request is recognised by.

    Args:
        records: canonical records.
        stated: in step with them: what the client stated itself.
        members: their ids and times, likewise.
        key: the Idempotency-Key.
    """
    said: list[Said | None] = []
    whole = None if key is None else sha256()
    for entry, given, (id_, time) in zip(records, stated, members, strict=True):
        if not given.id and key is None:
            said.append(None)
            continue
        if given.id and given.traceparent:  # as of most
            content = content_of(entry)
        else:
            filled = () if given.id else ("id",)
            content = content_of(entry, *filled, *(() if given.traceparent else ("traceparent",)))
        digest = sha256(content).digest()
        when = time if given.time else None
        said.append(Said(_name("id", id_), digest, when, time) if given.id else None)
        if whole is not None:
            whole.update(digest + repr(when).encode() + b"\n")
    named = None if key is None or whole is None else (_name("key", key), whole.digest())
    return RequestRecords(records, said, named)


def request_of_one(entry: bytes, id_: str, time: int, key: str | None) -> RequestRecords:
    """Does `request_of` of one record of which its client stated all."""
    if key is not None:
        return request_of([entry], [_ALL_STATED], [(id_, time)], key)
    content = sha256(content_of(entry)).digest()
    return RequestRecords((entry,), (Said(_name("id", id_), content, time, time),))


def resolve(request: RequestRecords, known: Mapping[bytes, Recall]) -> RequestPlan:
    """Tells what of a request is new, and where the rest stands.

    Args:
        request: the request.
        known: what is kept under its names.

    Raises:
        IdConflictError: an id stands for other content.
        KeyConflictError: the key stands for another request.
    """
    if request.key is not None and (before := known.get(request.key[0])) is not None:
        if before.content != request.key[1]:
            raise KeyConflictError("the Idempotency-Key was used for another request")
        return RequestPlan(runs=before.runs)
    if len(request.records) == 1 and not known and request.key is None:  # as most are
        (said,) = request.said
        recalls = [] if said is None else [Recall(said.name, said.content, said.logged, _LONE)]
        return RequestPlan([*request.records], recalls, _LONE)
    records: list[bytes] = []
    runs: list[RecordSpan] = []
    fresh: dict[bytes, Recall] = {}
    for number, (entry, said) in enumerate(zip(request.records, request.said, strict=True)):
        if said is not None:
            one = known.get(said.name) or fresh.get(said.name)
            if one is not None:
                _check_same(number, said, one)
                runs += one.runs
                continue
        here = RecordSpan(len(records), 1, NEW)
        records.append(entry)
        runs.append(here)
        if said is not None:
            fresh[said.name] = Recall(said.name, said.content, said.logged, (here,))
    plan = RequestPlan(records, [*fresh.values()], joined(runs))
    if request.key is not None:
        plan.recalls.append(Recall(*request.key, 0, plan.runs))
    return plan


def receipt_of(runs: Sequence[RecordSpan]) -> Receipt:
    """The receipt of records that stand somewhere, in runs."""
    manifest = max(run.manifest for run in runs)
    count = sum(run.size for run in runs)
    indices = None
    if len(runs) > 1:
        indices = tuple([at for run in runs for at in range(run.first, run.first + run.size)])
    return Receipt(runs[0].first, count, manifest, manifest + 1, indices)


def _check_same(number: int, said: Said, before: Recall) -> None:
    if before.content != said.content:
        raise IdConflictError(number, "its id stands for other content in the log")
    if said.time is not None and said.time != before.time:
        raise IdConflictError(
            number, f"its id stands in the log for the same with the time {before.time}"
        )


def _name(kind: str, text: str) -> bytes:
    return sha256(f"{kind}\0{text}".encode()).digest()[:NAME_SIZE]
