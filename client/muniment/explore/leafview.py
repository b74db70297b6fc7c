"""All that is known of one leaf: read from the replica, in one thread, for one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from muniment.explore.proving import prove
from muniment.explore.table import TableReader
from muniment.index.proofs import prove_trace
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import Found, Interval, TargetRef
from muniment.lineage.reader import BudgetedReader
from muniment.lineage.trace import trace
from muniment.lineage.withholding import Withholding, disclosed_by, withholding_of
from muniment.permit.context import Context, ExpectedPolicy, Trust
from muniment.permit.permitfile import Permit
from muniment.permit.verdict import CODES, Finding
from muniment.permit.verify import verify_permit
from muniment.records.addenda import named_digests
from muniment.records.codec import parse_leaves
from muniment.records.commitments import read_addendum, shown_value
from muniment.records.kinds import (
    Approval,
    Decision,
    Edge,
    Outcome,
    Record,
    Revocation,
    Verification,
)
from muniment.records.manifest import Manifest, Signed, parse_manifest
from muniment.tlog.encoding import FormatError
from muniment.tlog.note import VKey
from muniment.tlog.policy import CosignedCheckpoint, Policy
from muniment.tlog.tlogproof import TlogProof

MAX_AFTER: Final = 10_000
"""Most records that are read of what came after a decision."""


class CheckedCode(NamedTuple):
    """A denial code, and what was found of it."""

    code: str
    findings: Sequence[Finding]


class LeafBatch(NamedTuple):
    """The batch of a record: its manifest's leaf, and the record's number on the stream."""

    index: int  # type: ignore[assignment]  # hides tuple.index, of no use here
    manifest: Manifest
    number: int


@dataclass(frozen=True, slots=True)
class Member:
    """A member that a record has only a digest of.

    Attributes:
        pointer: Where it was.
        digest: Of its addendum.
        state: ``disclosed``, ``withheld`` or ``erased``.
        value: What it was, of a disclosed one.
        erasure: The leaf that says it was erased.
    """

    pointer: str
    digest: str
    state: str
    value: Any = None
    erasure: int | None = None


@dataclass(frozen=True, slots=True)
class DecisionView:
    """What is known of a decision beyond its leaf.

    Attributes:
        whole: Request and response with what is disclosed in its place.
        members: What it has only digests of.
        checks: Each denial code, for a runtime that is all that the decision asks for.
        permitted: Whether none was found.
        approvals: Records of the approval that it rests on, of just what it says.
        outcomes: Of its run, and verifications.
        verifications: Of its run.
        revocations: Of it and of its run.
        revoking: Edges by which it is revoked.
        is_cut: Whether the log has more of these than were read.
        counts: Whether its gateway is one whose word counts; None when none are named.
    """

    whole: Mapping[str, Any]
    members: Sequence[Member]
    checks: Sequence[CheckedCode]
    permitted: bool
    approvals: Sequence[Found[Approval]]
    outcomes: Sequence[Found[Outcome]]
    verifications: Sequence[Found[Verification]]
    revocations: Sequence[Found[Revocation]]
    revoking: Sequence[Found[Edge]]
    is_cut: bool
    counts: bool | None


@dataclass(frozen=True, slots=True)
class LeafView:
    """A leaf.

    Attributes:
        leaf: Its bytes.
        record: What it says; None for a manifest, and for what is neither.
        manifest: What it says as a manifest.
        proof: That it is in the tree of the checkpoint; verified.
        interval: When the log took it, as witnesses attest.
        signed: Who signed the batch; None when nobody knows.
        batch: The batch.
        decision: More, of a decision.
    """

    leaf: bytes
    record: Record | None
    manifest: Manifest | None
    proof: TlogProof
    interval: Interval
    signed: Signed | None
    batch: LeafBatch | None
    decision: DecisionView | None


def look_at(
    reader: IndexReader,
    table: TableReader,
    cosigned: CosignedCheckpoint,
    index: int,
    now: int,
) -> LeafView:
    """Reads a leaf below the checkpoint's size; raises FactsError if it cannot be read."""
    size = cosigned.size
    leaf = reader.leaves([index])[index]
    [record] = parse_leaves([leaf])
    facts = ReplicaFacts(reader)
    [interval] = facts.intervals([index])
    [signed] = facts.signers([index])
    proof = prove(reader, table, index, cosigned.signed)
    return LeafView(
        leaf=leaf,
        record=record,
        manifest=_manifest(leaf) if record is None else None,
        proof=proof,
        interval=interval,
        signed=signed,
        batch=_batch(reader, index, size),
        decision=(
            _decision(reader, facts, Found(index, record), leaf, proof, cosigned.policy, now)
            if isinstance(record, Decision)
            else None
        ),
    )


def permit_of(reader: IndexReader, leaf: bytes, proof: TlogProof, *, discloses: bool) -> Permit:
    """The permit of a decision's leaf; with all addenda that the replica has, if it discloses.

    Raises FormatError if the leaf is no record, or together the addenda are too long.
    """
    permit = Permit.of(leaf, replace(proof, extra=None))
    if not discloses or permit.decision is None:
        return permit
    named = named_digests(permit.decision)
    held = reader.addenda(named.values())
    return permit.disclose([one for one in named if named[one] in held], held.values())


def _manifest(leaf: bytes) -> Manifest | None:
    try:
        return parse_manifest(leaf)[0]
    except FormatError:
        return None


def _batch(reader: IndexReader, index: int, size: int) -> LeafBatch | None:
    found = reader.manifest_after(index, size=size)
    manifest = None if found is None else _manifest(found[1])
    if found is None or manifest is None or found[0] - manifest.count > index:
        return None
    number = manifest.first + index - (found[0] - manifest.count)
    return LeafBatch(found[0], manifest, number)


def _decision(
    reader: IndexReader,
    facts: ReplicaFacts,
    found: Found[Decision],
    leaf: bytes,
    proof: TlogProof,
    policy: Policy,
    now: int,
) -> DecisionView:
    decision = found.record
    gateways = facts.gateways
    named = named_digests(decision)
    held = reader.addenda(named.values()) if named else {}
    disclosed = disclosed_by(decision, held.values())
    permit = permit_of(reader, leaf, proof, discloses=True)
    whole = permit.whole or decision
    verdict = verify_permit(permit, _context(decision, facts, now), _trust(policy, gateways))
    runs = [] if decision.execution is None else [decision.execution]
    # To its end: anybody may log what fills a page, before what counts.
    after = BudgetedReader(MAX_AFTER)
    targets = [TargetRef("decision", decision.id), *(TargetRef("execution", run) for run in runs)]
    approval = None if decision.artifact is None else decision.artifact.approval
    revocations = after.all(facts.revocations, targets)
    [revoking] = after.all(facts.revoking_edges, [decision.id])
    approvals = after.all(facts.approvals, [] if approval is None else [approval.id])
    outcomes = after.all(facts.outcomes, runs)
    verifications = after.all(facts.verifications, runs)
    return DecisionView(
        whole={"request": whole.request, "response": whole.response},
        members=_members(withholding_of(decision, disclosed, facts), named, disclosed),
        checks=[
            CheckedCode(code, [one for one in verdict.findings if one.code == code])
            for code in CODES
        ],
        permitted=verdict.permitted,
        approvals=[one for page in approvals for one in page if one.record.approval == approval],
        outcomes=[one for page in outcomes for one in page],
        verifications=[one for page in verifications for one in page],
        revocations=[one for page in revocations for one in page],
        revoking=revoking,
        is_cut=after.is_cut,
        counts=(
            None if gateways is None else any(one.name == decision.producer for one in gateways)
        ),
    )


def _context(decision: Decision, facts: ReplicaFacts, now: int) -> Context:
    """What a runtime knows that is all that the decision asks for."""
    artifact = decision.artifact
    asked: dict[str, Any] = {}
    if artifact is not None:
        asked = {
            "measurements": artifact.environment or {},
            "governance": artifact.governance or {},
            "policy": ExpectedPolicy(id=artifact.policy.id),
        }
        if artifact.binding is not None:
            binding = artifact.binding
            asked |= {"spiffe_id": binding.spiffe_id, "thumbprint": binding.thumbprint}
    return Context(
        now=now,
        action=decision.action,
        resource=decision.resource,
        subject=decision.subject,
        execution=decision.execution,
        facts=facts,
        **asked,
    )


def _trust(policy: Policy, gateways: tuple[VKey, ...] | None) -> Trust:
    """What a runtime insists on by default; authorities and approvers are not known here."""
    return Trust(
        policy=policy,
        gateways=gateways,
        max_facts_age=None,
        allow_unknown_signatures=True,
        allow_unknown_approvals=True,
    )


def _members(
    found: Withholding | None, named: Mapping[str, str], disclosed: Mapping[str, bytes]
) -> list[Member]:
    if found is None:
        return []
    erased = dict(found.erased)
    members: list[Member] = []
    for pointer, digest in named.items():
        if pointer in disclosed:
            value = shown_value(read_addendum(disclosed[pointer], digest))
            members.append(Member(pointer, digest, "disclosed", value))
        elif pointer in erased:
            members.append(Member(pointer, digest, "erased", erasure=erased[pointer]))
        else:
            members.append(Member(pointer, digest, "withheld"))
    return members


def bundle_of(reader: IndexReader, execution: str, now: int) -> bytes:
    """The lineage bundle of a run, by the replica's gateways.

    Raises InputError if nothing is known of the run.
    """
    facts = ReplicaFacts(reader)
    return prove_trace(reader, trace(execution, facts, now, gateways=facts.gateways)).encode()
