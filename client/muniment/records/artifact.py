"""The authorization artifact of a decision: what exactly is authorised.

Every type here is frozen and compares by value; an absent member is None. Explicit null is not a
spelling of absence: a record that holds one where None is the default is refused.
"""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from muniment.records.approval import SignedApproval
from muniment.records.members import (
    MAX_ITEMS,
    Digest,
    Label,
    Name,
    Seconds,
    ShortName,
    SpiffeId,
)


class ResourceScope(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Resources of an AuthZEN type and id, both matched exactly; without id all of the type."""

    type: Label
    id: Annotated[str, Meta(min_length=1, max_length=2048)] | None = None

    def covers(self, type_: str, id_: str) -> bool:
        """Tells whether a resource is in this scope."""
        return self.type == type_ and (self.id is None or self.id == id_)


class Scope(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What may be done to what: any action of the one list on any resource of the other.

    Both have 1 to MAX_ITEMS; AuthZEN action names are matched exactly, each once.
    """

    actions: Annotated[tuple[Label, ...], Meta(min_length=1, max_length=MAX_ITEMS)]
    resources: Annotated[tuple[ResourceScope, ...], Meta(min_length=1, max_length=MAX_ITEMS)]

    def allows(self, action: str, resource_type: str, resource_id: str) -> bool:
        """Tells whether the scope covers an action on a resource."""
        return action in self.actions and any(
            resource.covers(resource_type, resource_id) for resource in self.resources
        )


class Binding(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The runtime that may execute. At least one member; all that are given must match.

    The thumbprint is the digest of the runtime's public key, as DER SubjectPublicKeyInfo.
    """

    spiffe_id: SpiffeId | None = None
    thumbprint: Digest | None = None


class PolicyRef(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The policy that decided; the digest is of its bytes, as the policy engine defines those."""

    id: Name
    revision: Label
    digest: Digest


class Validity(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """When it may be used, Unix seconds: ``not_before <= now < not_after``, and never empty."""

    not_before: Seconds
    not_after: Seconds

    def covers(self, now: int) -> bool:
        """Tells whether a time in Unix seconds is within the validity."""
        return self.not_before <= now < self.not_after


class Actor(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One link of a delegation chain, as the ``act`` claim of RFC 8693 section 4.1.

    Attributes:
        iss: Who names it so (an issuer URL), when that is not plain from the name.
        act: The actor that delegated to this one; None at the origin of the chain.
    """

    sub: Name
    iss: Name | None = None
    act: "Actor | None" = None


class Attribution(
    Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """On whose authority, and through whom: the current actor outermost; None for nobody."""

    authority: Name
    act: Actor | None = None

    def chain(self) -> Iterator[Actor]:
        """The delegation chain, outermost (the current actor) first."""
        actor = self.act
        while actor is not None:
            yield actor
            actor = actor.act


class Artifact(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The authorization artifact: each member narrows what the decision permits.

    Attributes:
        binding: The runtime that may execute; None leaves it open.
        environment: Required measurements: name to digest, 1 to MAX_ITEMS; None requires none.
        governance: Labels (name to text) of the governance domain, 1 to MAX_ITEMS; None for none.
        approval: What a person has said of the call, as its own record has it; None when nobody was
            asked.
        further_approvals: What others have said of it, where it needed several people; 1 to 15.
    """

    scope: Scope
    binding: Binding | None = None
    environment: (
        Annotated[dict[ShortName, Digest], Meta(min_length=1, max_length=MAX_ITEMS)] | None
    ) = None
    policy: PolicyRef
    validity: Validity
    attribution: Attribution
    governance: (
        Annotated[dict[ShortName, Label], Meta(min_length=1, max_length=MAX_ITEMS)] | None
    ) = None
    approval: SignedApproval | None = None
    further_approvals: (
        Annotated[tuple[SignedApproval, ...], Meta(min_length=1, max_length=15)] | None
    ) = None

    @property
    def approvals(self) -> tuple[SignedApproval, ...]:
        """All approvals that it rests on."""
        if self.approval is None:
            return ()
        return (self.approval, *(self.further_approvals or ()))
