"""A context as a JSON object: what a runtime that is not Python, or a person, hands over."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct

from muniment.lineage.facts import Facts
from muniment.permit.context import Context, ExpectedPolicy
from muniment.records.canonical import parse_json
from muniment.records.check import explain
from muniment.records.commitments import MAX_ADDENDUM
from muniment.records.kinds import Entity
from muniment.records.members import Digest, Id, Label, Name, Seconds, ShortName, SpiffeId
from muniment.records.times import check_seconds
from muniment.tlog.encoding import FormatError

MAX_CONTEXT_SIZE: Final = MAX_ADDENDUM + 1024 * 1024
"""Largest context in bytes: arguments, and the measurements of a large system take a tenth of the
rest."""

_Text = Annotated[str, Meta(min_length=1, max_length=2048)]


class _Entity(Struct, frozen=True, forbid_unknown_fields=True):
    type: _Text
    id: _Text


class _Policy(Struct, frozen=True, forbid_unknown_fields=True):
    id: Name | None = None
    revision: Label | None = None
    digest: Digest | None = None


class ContextMembers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The object as it is written; `Context` says what its members mean."""

    action: _Text
    resource: _Entity
    now: Seconds | None = None
    subject: _Entity | None = None
    execution: Id | None = None
    parent: Id | None = None
    arguments: Any = UNSET
    spiffe_id: SpiffeId | None = None
    thumbprint: Digest | None = None
    measurements: Mapping[ShortName, Digest] = {}
    policy: _Policy | None = None
    governance: Mapping[ShortName, Label] = {}


def parse_context(data: bytes, *, now: int, facts: Facts | None) -> Context:
    """Parses a JSON object with the members of ``Context``, ``facts`` excepted.

    ``action`` and ``resource`` are required, entities are ``{"type", "id"}``; `now`, in Unix
    seconds, is for an object that does not say. Raises FormatError if it is not such an object;
    names the member.
    """
    value = parse_json(data, "context", most=MAX_CONTEXT_SIZE)
    try:
        given = msgspec.convert(value, ContextMembers)
    except msgspec.ValidationError as error:
        raise FormatError(f"context: {explain(error)}") from None
    if given.now is not None:
        check_seconds(given.now, "context: now")
    policy = given.policy
    return Context(
        now=now if given.now is None else given.now,
        action=given.action,
        resource=Entity(given.resource.type, given.resource.id),
        subject=None if given.subject is None else Entity(given.subject.type, given.subject.id),
        execution=given.execution,
        parent=given.parent,
        arguments=given.arguments,
        spiffe_id=given.spiffe_id,
        thumbprint=given.thumbprint,
        measurements=given.measurements,
        policy=None
        if policy is None
        else ExpectedPolicy(id=policy.id, revision=policy.revision, digest=policy.digest),
        governance=given.governance,
        facts=facts,
    )
