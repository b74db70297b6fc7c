"""How records are written for others: one JSON value a record, and what a request is made of them.

Nothing in an event comes from the time or the way of the export, so that an event that is sent
again is the same event.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from muniment.errors import RETRIABLE
from muniment.export.source import Exported
from muniment.tlog.encoding import format_base64

LEAST_BYTES: Final = 1 << 20
"""Bytes of the events of a request from which on no more are put into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form of export.

    Attributes:
        name: What a cursor and a command line call it.
        event: The JSON of one record, without a line end.
        line: What a line of a file holds, made of some events; None when each has its own.
        body: The body of a request, made of some events.
        media_type: The body's media type, by the number of its events.
        retriable: HTTP statuses after which the same request is sent again.
        path: What is put behind an endpoint's URL that has no path of its own.
        rejected: Reads, out of the body of an answer that is a success, how many events the
            receiver did not take, and its words; FormatError if it is no such answer. None where
            the protocol has no such thing.
    """

    name: str
    event: Callable[[Exported], bytes]
    body: Callable[[Sequence[bytes]], bytes]
    media_type: Callable[[int], str]
    line: Callable[[Sequence[bytes]], bytes] | None = None
    retriable: frozenset[int] = RETRIABLE
    path: str = ""
    rejected: Callable[[bytes], "Rejected"] | None = None

    def lines(self, events: Sequence[bytes]) -> bytes:
        """What a file gets of some events: whole lines."""
        lines = events if self.line is None else [self.line(events)]
        return b"".join([line + b"\n" for line in lines])


@dataclass(frozen=True, slots=True)
class Rejected:
    """What a receiver says that it did not take of a request that it otherwise did take."""

    count: int = 0
    words: str = ""


def withheld_members(exported: Exported) -> dict[str, Any]:
    """What of a record is not there: `withheld` pointers, and `erased` ones.

    Of these, each has the leaf index of the record by which it was erased.
    """
    found = exported.withholding
    if found is None:
        return {}
    members: dict[str, Any] = {}
    if found.withheld:
        members["withheld"] = found.withheld
    if found.erased:
        members["erased"] = dict(found.erased)
    return members


def plain_members(exported: Exported) -> Mapping[str, Any]:
    """A record with its place in the log, as JSON Lines and CloudEvents have it.

    `record` is the leaf verbatim, so that whoever gets it can hash it (RFC 6962) to `leaf`.
    """
    return {
        "origin": exported.origin,
        "index": exported.index,
        "leaf": format_base64(exported.leaf_hash),
        "record": msgspec.Raw(exported.data),
        **withheld_members(exported),
    }


def _json_line(exported: Exported) -> bytes:
    return msgspec.json.encode(plain_members(exported))


JSON_LINES: Final = Form(
    name="jsonl",
    event=_json_line,
    body=lambda events: b"".join([event + b"\n" for event in events]),
    media_type=lambda _: "application/x-ndjson",
)
"""One object a line (RFC 8259 each): the verified records with their places in the log."""
