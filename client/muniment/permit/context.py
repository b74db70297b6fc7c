"""What a runtime knows, and what it trusts: the two other inputs of a verdict.

`Context` changes from call to call, `Trust` is the runtime's configuration. The defaults are
strict: whatever a decision states is enforced, also when the runtime does not know its side of it;
each way to be more lenient is a member of `Trust` that has to be set.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import UNSET

from muniment.lineage.facts import Facts
from muniment.lineage.moments import TOLERANCE
from muniment.records.authority import key_reference
from muniment.records.kinds import Entity
from muniment.records.times import MAX_ALLOWANCE, MAX_DURATION
from muniment.tlog.note import COSIGNATURE_MLDSA44, ED25519, VKey
from muniment.tlog.policy import Policy
from muniment.tlog.quorum import CLOCK_SKEW

__all__ = [
    "CLOCK_SKEW",
    "MAX_FACTS_AGE",
    "MAX_LINEAGE",
    "Context",
    "ExpectedPolicy",
    "Trust",
]

MAX_FACTS_AGE: Final = 300
"""Oldest facts in seconds unless `Trust` sets another bound: how long one may miss a revocation.
More than an idle log takes to have its head cosigned anew, see docs/times.md."""

MAX_LINEAGE: Final = 20_000
"""Most records read for the lineage of one permit: well above what real chains have, and a bound
on what a hostile one costs."""

_NOTHING: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPolicy:
    """The policy that should have decided, see `artifact.PolicyRef`; None leaves a part open."""

    id: str | None = None
    revision: str | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the runtime knows of itself and of what it is about to do.

    Attributes:
        now: Unix seconds.
        subject: Who wants it; None to leave it open.
        execution: The id of the run.
        parent: The run that triggered this one, when the runtime knows: then the log must too.
        arguments: With what it wants to call, as JSON: then these, and no others, must have been
            decided on, see `arguments`. For a governed call: ``Call.arguments``.
        thumbprint: Digest of the runtime's public key (DER SubjectPublicKeyInfo).
        measurements: What was measured of the environment: name to digest.
        governance: Labels of the governance domain that the runtime is in.
        facts: What is known of the log: lineage and revocations. None for what the permit's own
            status tells of them, if it has one.
    """

    now: int
    action: str
    resource: Entity
    subject: Entity | None = None
    execution: str | None = None
    parent: str | None = None
    arguments: Any = UNSET
    spiffe_id: str | None = None
    thumbprint: str | None = None
    measurements: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    policy: ExpectedPolicy | None = None
    governance: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    facts: Facts | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom the runtime trusts, and what it insists on.

    Raises ValueError if an authority's key cannot sign decisions, or two keys have one name and key
    ID, or more signatures are asked for than there are authorities, or the gateways are no keys, or
    approvers are no people, or an approval is required and there are none, or more approvals are
    than there are people, or an age, a tolerance or a leeway is none.

    Attributes:
        authorities: Keys of the authorities whose signatures count. With none, a decision needs no
            signature, and one that has signatures is denied: nobody can check them.
        signatures: How many authorities, told apart by key name and key, must have signed; None
            stands for one when there are authorities. Keys that another one links, with the name
            of one and the public key of the other, are one authority's.
        approvers: Keys of the people whose approvals count. A decision that rests on an approval is
            denied when that is by nobody of these: also when there are none, unless
            `allow_unknown_approvals`.
        approvals: How many different people must have approved a decision that rests on approvals;
            they differ in what they are called, in key name and in key, as authorities do.
        gateways: Keys of the gateways whose word counts: for decisions, and for every fact of their
            lineage. None for all that the log admits: then each run's own producer speaks for it,
            and decisions of one run by two of them deny it.
        max_facts_age: Oldest facts, in seconds; None for any age.
        max_index_age: Oldest completeness proof that tells what is revoked, in seconds, by the head
            of the log that it is about; None to leave that with `max_facts_age`, which bounds the
            age of every proof.
        index_policy: Whom to trust for the log's index log; None for the log's own keys and
            witnesses, as `policy` has them.
        max_checkpoint_age: Oldest checkpoint of a permit, in seconds; None for any age, as a proof
            does not go off.
        require_execution: Whether the decision must state the run that it authorises.
        require_binding: Whether the artifact must state the runtime.
        require_environment: Whether the artifact must require measurements.
        require_policy: Whether the runtime must expect a policy.
        require_facts: Whether lineage and revocations must be known.
        require_approval: Whether a person must have approved the call.
        require_arguments: Whether the runtime must state with what arguments it wants to call.
        exact_request: Whether action and resource must also be those of the request, when the scope
            is wider.
        allow_self_approval: Whether who asks may be who approves.
        allow_unlogged_delegation: Whether links of the artifact's delegation chain may lack their
            `delegated_by` edge.
        external_logs: Origins of other logs whose word on lineage is taken without proof.
        clock_tolerance: Seconds by which a producer's clock may differ from those of the witnesses.
        not_before_leeway: Seconds by which a runtime may begin before an artifact's ``not_before``:
            for a gateway whose clock is ahead.
    """

    policy: Policy
    authorities: tuple[VKey, ...] = ()
    signatures: int | None = None
    approvers: tuple[VKey, ...] = ()
    approvals: int = 1
    gateways: tuple[VKey, ...] | None = None
    max_facts_age: int | None = MAX_FACTS_AGE
    max_index_age: int | None = None
    index_policy: Policy | None = None
    max_checkpoint_age: int | None = None
    require_artifact: bool = True
    require_execution: bool = True
    require_binding: bool = True
    require_environment: bool = False
    require_policy: bool = True
    require_facts: bool = True
    require_approval: bool = False
    require_arguments: bool = False
    exact_request: bool = False
    allow_unknown_signatures: bool = False
    allow_unknown_labels: bool = False
    allow_unknown_approvals: bool = False
    allow_self_approval: bool = False
    allow_unlogged_delegation: bool = False
    external_logs: frozenset[str] = frozenset()
    clock_tolerance: int = TOLERANCE
    not_before_leeway: int = 0

    def __post_init__(self) -> None:
        keys = {key_reference(vkey): vkey for vkey in self.authorities}
        if len(keys) != len(set(self.authorities)):
            raise ValueError("two authorities have the same key name and key ID")
        if any(vkey.algorithm not in (ED25519, COSIGNATURE_MLDSA44) for vkey in self.authorities):
            raise ValueError("an authority's key is not of a type that signs decisions")
        if any(vkey.algorithm != ED25519 for vkey in self.approvers):
            raise ValueError("approvers: a person's key is an Ed25519 key")
        if len({key_reference(vkey) for vkey in self.approvers}) != len(set(self.approvers)):
            raise ValueError("approvers: two have the same key name and key ID")
        if not 1 <= self.approvals <= max(1, len(self.approvers)):
            text = f"approvals by {self.approvals} of {len(self.approvers)} people"
            raise ValueError(f"approvers: {text}")
        if self.require_approval and not self.approvers:
            raise ValueError("approvers: an approval is required, and nobody's would count")
        if not 0 <= self.signatures_needed <= len({vkey.name for vkey in self.authorities}):
            raise ValueError("more signatures are needed than there are authorities")
        gateways: object = self.gateways  # who checks no types may give names, or a single key
        if gateways is not None and not (
            isinstance(gateways, tuple | list) and all(type(one) is VKey for one in gateways)
        ):
            raise ValueError(f"gateways: expected a tuple of keys (parse_vkey), got {gateways!a}")
        for member, age in (
            ("max_facts_age", self.max_facts_age),
            ("max_index_age", self.max_index_age),
            ("max_checkpoint_age", self.max_checkpoint_age),
        ):
            if age is not None and not 0 <= age < MAX_DURATION:
                raise ValueError(f"{member}: expected seconds, of less than a century, got {age}")
        allowances: tuple[tuple[str, object], ...] = (
            ("clock_tolerance", self.clock_tolerance),
            ("not_before_leeway", self.not_before_leeway),
        )
        for member, allowance in allowances:
            if not isinstance(allowance, int) or not 0 <= allowance <= MAX_ALLOWANCE:
                raise ValueError(f"{member}: expected seconds, at most a day, got {allowance!a}")

    @property
    def signatures_needed(self) -> int:
        """How many authorities must have signed."""
        return min(1, len(self.authorities)) if self.signatures is None else self.signatures
