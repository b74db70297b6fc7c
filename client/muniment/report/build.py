"""The report as JSON values, from a replica: each figure with its query and its leaves."""

from collections.abc import Callable
from typing import Any, NamedTuple

from muniment import __version__
from muniment.audit.auditor import OUTCOME_AGE
from muniment.audit.relationstore import RelationStore
from muniment.errors import InputError
from muniment.index.reader import IndexReader
from muniment.index.replicafacts import ReplicaFacts
from muniment.lineage.facts import FactsError
from muniment.report.queries import AUDIT, FOLLOW, time_text
from muniment.report.reading import Checked, Counted, Keys, read_leaves
from muniment.report.relating import Related, relate
from muniment.report.scope import ReportScope
from muniment.report.seed import FORMAT, Seed
from muniment.report.tally import Tally
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.encoding import format_base64
from muniment.tlog.policy import CosignedCheckpoint, Policy, format_policy, parse_policy, show

Progress = Callable[[int, int], None]


class Basis(NamedTuple):
    """What a report is made of, and what it was made with.

    Attributes:
        reader: The replica.
        facts: The same, at the size of the checkpoint.
        checkpoint: Verified by the seed's policy.
        seed: What a repeat needs.
    """

    reader: IndexReader
    facts: ReplicaFacts
    checkpoint: CosignedCheckpoint
    seed: Seed


def basis_of(
    reader: IndexReader,
    policy: Policy,
    scope: ReportScope,
    keys: Keys,
) -> Basis:
    """Takes the newest checkpoint of a replica, which the policy has to accept.

    Raises:
        FactsError: If nothing is verified yet, or misbehaviour is proven.
        VerificationError: If the policy does not accept the checkpoint.
        DatabaseError: If the file cannot be read.
    """
    facts = ReplicaFacts(reader)
    state = reader.state()
    if state.checkpoint is None:
        raise FactsError(f"{reader.path}: nothing is verified yet")
    facts.accept(policy)
    note = state.checkpoint.encode()
    seed = Seed(scope, keys, format_policy(policy), note, program())
    return basis_again(reader, policy, seed)


def basis_again(reader: IndexReader, policy: Policy, seed: Seed) -> Basis:
    """Takes the checkpoint of a seed, which `policy` and the seed's own policy have to accept.

    Raises as `basis_of`; InputError if the replica has fewer leaves, or is of another log.
    """
    signed = parse_signed_checkpoint(seed.note)
    policy.verify(signed)
    checkpoint = parse_policy(seed.policy).verify(signed)
    head = ReplicaFacts(reader).head
    if head.origin != checkpoint.origin:
        raise InputError(f"{reader.path}: is of {head.origin}, the report of {checkpoint.origin}")
    if head.size < checkpoint.size:
        raise InputError(
            f"{reader.path}: has {head.size} leaves, the report is about {checkpoint.size}: bring "
            "the replica up to date (muniment follow)"
        )
    return Basis(reader, ReplicaFacts(reader, size=checkpoint.size), checkpoint, seed)


def build_report(
    basis: Basis,
    *,
    reading: Progress = lambda _done, _total: None,
    relating: Progress = lambda _done, _total: None,
) -> dict[str, Any]:
    """Makes the report.

    Reads every leaf once, and temporary disk for what leaves say of each other: some 50 bytes each.

    Raises:
        VerificationError: If the replica's leaves are not those of the checkpoint.
        DatabaseError, FactsError: If the replica or temporary disk cannot be used.
    """
    reader, facts, checkpoint, seed = basis
    scope, keys = seed.scope, seed.keys
    until = min(scope.end, checkpoint.time() or scope.end)
    with Tally() as tally, RelationStore() as store:
        counted = Counted(scope, checkpoint.size, keys, tally)
        checked = read_leaves(reader, facts, checkpoint, counted, keys, store, reading)
        related = relate(
            store,
            checkpoint.origin,
            counted.marks,
            (until - OUTCOME_AGE) * 1000,
            counted.approvals,
            relating,
        )
        return {
            "format": FORMAT,
            "made_by": seed.made_by,
            "scope": {
                "from": scope.start,
                "to": scope.end,
                "subjects": [one._asdict() for one in scope.subjects],
            },
            "checkpoint": _checkpoint(checkpoint),
            "verified": _verified(checked),
            "not_verified": list(_not_verified(checkpoint, checked, seed)),
            "decisions": counted.decisions.members(),
            "denials": counted.decisions.denials(),
            "runs": _runs(counted, related),
            "revocations": counted.revocations.members(reader, facts),
            "approvals": {
                **counted.others.approvals(),
                "decisions": counted.decisions.approved,
                "warnings": {**related.approvals.members(), "queries": [AUDIT]},
            },
            "erasures": {
                **counted.others.erasures(),
                "withheld": related.withheld,
                "erased": related.erased,
            },
            "gaps": _gaps(counted, checked, until),
            "repeat": {
                "check": "muniment report --check FILE --log LOG --policy POLICY",
                "follow": FOLLOW,
                "seed": seed.members(),
            },
        }


def program() -> str:
    """Name and version of this program."""
    return f"muniment {__version__}"


def _checkpoint(checkpoint: CosignedCheckpoint) -> dict[str, Any]:
    policy = checkpoint.policy
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": format_base64(checkpoint.root),
        "time": checkpoint.time() or None,
        "log_keys": [str(key) for key in checkpoint.log_keys],
        "cosigners": [
            {"witness": show(name), "time": time or None} for name, time in checkpoint.cosigners
        ],
        "quorum": show(policy.quorum),
        "groups": [
            {
                "name": show(group.name),
                "threshold": group.threshold,
                "members": [show(name) for name in group.members],
            }
            for group in policy.groups
        ],
    }


def _verified(checked: Checked) -> dict[str, Any]:
    return {
        "records": checked.records,
        "manifests": checked.manifests,
        "foreign": checked.foreign,
        "streams": checked.streams,
        "signatures": checked.signatures,
        "unknown_signers": list(checked.unknown_signers),
    }


def _runs(counted: Counted, related: Related) -> dict[str, Any]:
    return {
        "acted": related.acted,
        "without_authorization": {**related.unauthorized.members(), "queries": [AUDIT]},
        "outcomes": counted.others.outcomes(),
        "missing_outcomes": {
            "age": OUTCOME_AGE,
            "leaves": related.unended.members(),
            "queries": [AUDIT],
        },
    }


def _gaps(counted: Counted, checked: Checked, until: int) -> dict[str, Any]:
    return {
        "findings": {
            "count": checked.found,
            "rows": [
                {"kind": one.kind, "index": one.index, "sentence": one.sentence}
                for one in checked.findings
            ],
            "queries": [AUDIT],
        },
        "silences": counted.silences.members(until),
    }


def _not_verified(checkpoint: CosignedCheckpoint, checked: Checked, seed: Seed) -> Any:
    """What nobody has shown to be so, as JSON values."""

    def say(code: str, sentence: str) -> dict[str, str]:
        return {"code": code, "sentence": sentence}

    end, time = seed.scope.end, checkpoint.time()
    yield say(
        "completeness",
        "That everything was logged: what a gateway never sent is in no log. Gaps in streams, "
        "silences and runs without authorization are its only traces here.",
    )
    yield say(
        "times",
        "The times of records: they are the word of whoever logged them. What the window has is "
        "told by these times.",
    )
    yield say(
        "truth",
        "That what records say is true: they prove who said it, and that it was not changed since.",
    )
    if not checkpoint.cosigners:
        yield say("witnesses", "That others see the same log: no witness has cosigned its tree.")
    if not time:
        yield say("age", "How old the tree is: no quorum of witnesses states a time.")
    elif time < end:
        yield say(
            "age",
            f"What was logged after {time_text(time)}, when the tree was cosigned: the window goes "
            f"on until {time_text(end)}.",
        )
    if checked.unknown_signers:
        names = ", ".join(checked.unknown_signers)
        yield say(
            "signatures",
            f"Signatures of manifests by these, whose keys were not given with --gateway: {names}.",
        )
    if not seed.keys.approvers:
        yield say(
            "approvers",
            "Signatures of approvals: no key was given with --approver.",
        )
    yield say(
        "addenda",
        "Withheld members: their contents are in no report, and the log was not asked for them.",
    )
    yield say(
        "index",
        "The replica's own index, by which is found what a revocation cuts and, where subjects are "
        "named, whose runs there are. The leaves that it leads to were verified; that it misses "
        "none shows when the replica is made again.",
    )
    if seed.scope.subjects:
        yield say(
            "subjects",
            "Whom approvals, erasures and revocations concern: the log does not say it, so these "
            "are everybody's. So are gaps and silences.",
        )
