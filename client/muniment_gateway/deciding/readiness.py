"""Why a log is not ready, in the words of its `/readyz`: with the witnesses that it lacks."""

from typing import Any, Final, cast

from muniment.errors import Refused
from muniment.http.answer import Answer
from muniment.http.logrequests import refusal_of
from muniment.tlog.encoding import one_line

_MOST_NAMED: Final = 3
"""Witnesses that are named: who reads it needs one to begin with, and it is in denials."""

_LONGEST: Final = 200
"""Characters that are told of each; the log's own status has all."""


def why_not_ready(answer: Answer) -> str:
    """Says why a log whose `/readyz` gave another answer than 200 is not ready, but not which."""
    refusal = refusal_of(answer, "/readyz")
    if not isinstance(refusal, Refused):
        return str(refusal)
    failing = [
        f"witness {one.get('witness')}: {one['error']}"
        for one in _tables(refusal.problem.members.get("witnesses"))
        if isinstance(one.get("error"), str)
    ]
    told = [one_line(said)[:_LONGEST] for said in failing[:_MOST_NAMED]]
    if len(failing) > _MOST_NAMED:
        told.append(f"and {len(failing) - _MOST_NAMED} more")
    return "; ".join([one_line(str(refusal)), *told])


def _tables(value: object) -> list[dict[str, Any]]:
    """The objects of what should be a list of them; what a log says is not believed to be one."""
    if not isinstance(value, list):
        return []
    found = cast("list[object]", value)
    return [cast("dict[str, Any]", one) for one in found if isinstance(one, dict)]
