"""The shape in which the check of whole batches reads records.

`kinds.Decision` keeps request and response verbatim, in dictionaries. To check a decision nobody
needs them: reading the AuthZEN members that nearly all decisions have into fields costs half as
much, and checks their types on the way. A decision with other members does not have this shape;
`kinds` reads it.
"""

from typing import Any, TypeAlias

from msgspec import UNSET, Struct, UnsetType

from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Erasure,
    Outcome,
    Revocation,
    Verification,
)

_Object: TypeAlias = dict[str, Any] | UnsetType


class _Entity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    type: str
    id: str
    properties: _Object = UNSET


class _Action(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    name: str
    properties: _Object = UNSET


class _Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    subject: _Entity
    action: _Action
    resource: _Entity
    context: _Object = UNSET


class _Response(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    decision: bool
    context: _Object = UNSET


# What JSON says has no cycles for the garbage collector to look for.
class PlainDecision(
    Decision, frozen=True, kw_only=True, omit_defaults=True, tag="decision", gc=False
):
    """A decision whose evaluation has AuthZEN's own members and no others."""

    request: _Request  # type: ignore[assignment]  # the same text, read into another shape
    response: _Response  # type: ignore[assignment]  # likewise


Shaped: TypeAlias = PlainDecision | Edge | Verification | Outcome | Revocation | Erasure | Approval
"""A record as the check reads it."""
