"""Permits within MCP: the member of a request's `_meta` in which they travel to the tool."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from muniment.permit.permitfile import Permit, parse_permit
from muniment.records.members import MAX_ID
from muniment.tlog.encoding import FormatError

META_KEY: Final = "dev.muniment/permit"
"""The member of `_meta`; what is in it is our own, and others pass it on."""

MOST_PERMITS: Final = 16
"""Most permits of one call: one for each evaluation of its mapping."""


@dataclass(frozen=True, slots=True)
class Travelling:
    """The permits of one call, unverified, and the runs that they authorise, in one order."""

    permits: tuple[Permit, ...]
    executions: tuple[str, ...]


def meta_of(permits: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The member's value: of each permit the run and the text."""
    return {
        "permits": [{"execution": execution, "permit": text} for execution, text in permits],
    }


def read_meta(meta: object) -> Travelling:
    """Reads the permits in a request's `_meta`; FormatError if there is none, or something else."""
    own = meta.get(META_KEY) if isinstance(meta, dict) else None
    if own is None:
        raise FormatError(f"no permit: _meta has no {META_KEY}")
    listed = own.get("permits") if isinstance(own, dict) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MOST_PERMITS:
        raise FormatError(f"{META_KEY}: expected permits: 1 to {MOST_PERMITS} of them")
    permits: list[Permit] = []
    executions: list[str] = []
    for number, one in enumerate(listed):
        text = one.get("permit") if isinstance(one, dict) else None
        execution = one.get("execution") if isinstance(one, dict) else None
        if not isinstance(text, str) or not isinstance(execution, str) or len(execution) > MAX_ID:
            raise FormatError(f"{META_KEY}: permits[{number}]: expected a permit and its execution")
        try:
            permits.append(parse_permit(text.encode("utf-8")))
        except UnicodeEncodeError:
            raise FormatError(f"{META_KEY}: permits[{number}]: not text") from None
        executions.append(execution)
    return Travelling(tuple(permits), tuple(executions))
