"""The arguments of a call: whether the runtime wants those that were decided on.

A decision has them at `ARGUMENTS`, as a rule withheld: then the permit has to disclose them. What
differs is named by its JSON pointer, and never shown: findings are printed, and kept.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from msgspec import UNSET

from muniment.lineage.escape import terminal
from muniment.permit.context import Context, Trust
from muniment.permit.permitfile import Permit
from muniment.permit.verdict import Finding
from muniment.records.addenda import ARGUMENTS, escape_token
from muniment.records.canonical import encode_canonical, parse_json
from muniment.records.commitments import MAX_ADDENDUM

_SHOWN: Final = 16
"""Most differences that a verdict names."""

_ABSENT: Final = object()


def check_arguments(permit: Permit, context: Context, trust: Trust) -> Iterator[Finding]:
    """Checks that the decision allows the call with these arguments."""
    if context.arguments is UNSET:
        if trust.require_arguments:
            yield _discontinuity("arguments that the runtime states", "none")
        return
    hidden = [one for one in permit.withheld if _is_about_arguments(one)]
    for pointer in hidden[:_SHOWN]:
        yield _discontinuity(f"{terminal(pointer)} disclosed, to compare it", "it withheld")
    if hidden:
        return
    decision = permit.whole
    stated: Any = None if decision is None else decision.request.get("context")
    if not isinstance(stated, dict) or "arguments" not in stated:
        yield _discontinuity(f"a decision that states {ARGUMENTS}", "none")
        return
    try:
        wanted = parse_json(encode_canonical(context.arguments), "arguments", most=MAX_ADDENDUM)
    except (TypeError, ValueError, RecursionError) as error:
        yield _discontinuity("arguments that are JSON", terminal(str(error)))
        return
    for pointer in islice(_differences(wanted, stated["arguments"], ARGUMENTS), _SHOWN):
        yield _discontinuity(f"{terminal(pointer)} as it was decided on", "something else")


def _is_about_arguments(pointer: str) -> bool:
    """Whether a member is the arguments, is in them, or they are in it."""
    return f"{pointer}/".startswith(f"{ARGUMENTS}/") or f"{ARGUMENTS}/".startswith(f"{pointer}/")


def _differences(wanted: Any, stated: Any, at: str) -> Iterator[str]:
    """Pointers to the innermost members in which two values differ, absent ones included."""
    if isinstance(wanted, dict) and isinstance(stated, dict):
        for name in sorted(wanted.keys() | stated.keys()):
            one, other = wanted.get(name, _ABSENT), stated.get(name, _ABSENT)
            yield from _differences(one, other, f"{at}/{escape_token(name)}")
    elif isinstance(wanted, list) and isinstance(stated, list) and len(wanted) == len(stated):
        for number, (one, other) in enumerate(zip(wanted, stated, strict=True)):
            yield from _differences(one, other, f"{at}/{number}")
    elif not _is_same(wanted, stated):
        yield at


def _is_same(wanted: Any, stated: Any) -> bool:
    if wanted is _ABSENT or stated is _ABSENT:
        return False
    return encode_canonical(wanted) == encode_canonical(stated)  # 1 is not true, and 1.0 is 1


def _discontinuity(expected: str, found: str) -> Finding:
    return Finding("authorization_discontinuity", "arguments", expected, found)
