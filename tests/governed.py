"""A small governed log for tests: records by short calls, facts, cosigned checkpoints, permits."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import logsim
from decisions import request
from muniment.lineage import Head, MemoryFacts
from muniment.permit import Context, ExpectedPolicy, Permit
from muniment.records.approval import SignedApproval, call_digest, sign_approval
from muniment.records.artifact import (
    Actor,
    Artifact,
    Attribution,
    Binding,
    PolicyRef,
    ResourceScope,
    Scope,
    Validity,
)
from muniment.records.authority import authority_vkey
from muniment.records.canonical import encode_canonical
from muniment.records.codec import encode_record
from muniment.records.kinds import (
    Decision,
    Denial,
    Edge,
    Entity,
    Outcome,
    Record,
    Revocation,
    Target,
    Thing,
    Verification,
)
from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from muniment.tlog.tlogproof import TlogProof
from rfc6962 import MTH, PATH
from signing import NOW, ORIGIN, ed25519, log_signer, mldsa44, witness, witness_mldsa44

GATEWAY = "gateway.example/one"
DIGEST = "sha256:" + "ab" * 32
WITNESSES = ("w1.example", "w2.example", "w3.example")
AUTHORITY = authority_vkey("authority.example", ed25519("authority"))
SECOND = authority_vkey("second.example", mldsa44("second"))
SPIFFE = "spiffe://example.org/agent/sub"
RUNTIME: dict[str, Any] = {
    "now": NOW,
    "action": "read",
    "resource": {"type": "document", "id": "7"},
    "subject": {"type": "agent", "id": "sub"},
    "execution": "call",
    "spiffe_id": SPIFFE,
    "measurements": {"image": DIGEST},
    "policy": {"id": "main", "revision": "3", "digest": DIGEST},
    "governance": {"region": "eu"},
}
"""What a runtime knows of the call of `story` before it begins, as JSON."""


def runtime(**members: Any) -> Context:
    """The same, unless members say otherwise."""
    known = RUNTIME | {
        "resource": Entity(**RUNTIME["resource"]),
        "subject": Entity(**RUNTIME["subject"]),
        "policy": ExpectedPolicy(**RUNTIME["policy"]),
    }
    return Context(**(known | members))


def policy(*, post_quantum: bool = False) -> Policy:
    cosigners = [(witness_mldsa44 if post_quantum else witness)(name) for name in WITNESSES]
    return Policy(
        (PolicyLog(log_signer().vkey),),
        tuple(PolicyWitness(one.vkey.name, one.vkey) for one in cosigners),
        (PolicyGroup("quorum", 2, WITNESSES),),
        "quorum",
    )


def artifact(**members: Any) -> Artifact:
    return Artifact(
        **{
            "scope": Scope(
                actions=("read", "list"), resources=(ResourceScope(type="document", id="7"),)
            ),
            "binding": Binding(spiffe_id=SPIFFE),
            "environment": {"image": DIGEST},
            "policy": PolicyRef(id="main", revision="3", digest=DIGEST),
            "validity": Validity(not_before=NOW - 1000, not_after=NOW + 1000),
            "attribution": Attribution(
                authority="acme", act=Actor(sub="sub", act=Actor(sub="orch"))
            ),
            "governance": {"region": "eu"},
            **members,
        }
    )


def approved(producer: str, by: str = "carol", key: str = "", **changes: Any) -> SignedApproval:
    """A person's yes to `World.decide`'s call, ten minutes ago and for five; by a key of theirs."""
    said: dict[str, Any] = {
        "id_": "apr-1",
        "request": "arq-1",
        "gateway": producer,
        "call": call_digest(request("sub", "read", ("document", "7"))),
        "decision": True,
        "approver": by,
        "at": NOW - 600,
        "not_after": NOW - 300,
        "name": f"people.example/{by}",
        "private": ed25519(key or by),
    }
    return sign_approval(**(said | changes))


class World:
    """Appends records; every record's leaf index is its place."""

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.records: list[Record] = []
        self.time = NOW * 1000 - 500_000
        self.producer = GATEWAY

    def add(self, record: Record) -> int:
        self.records.append(record)
        return len(self.records) - 1

    def common(self, prefix: str, time: int | None = None) -> dict[str, Any]:
        self.time += 1
        return {
            "v": 1,
            "id": f"{prefix}{len(self.records)}",
            "time": self.time if time is None else time,
            "producer": self.producer,
        }

    def decide(
        self,
        run: str | None,
        *,
        id_: str | None = None,
        subject: str = "sub",
        allow: bool = True,
        codes: Sequence[Any] = (),
        **members: Any,
    ) -> int:
        common = self.common("d")
        if id_ is not None:
            common["id"] = id_
        return self.add(
            Decision(
                **common,
                request=request(subject, "read", ("document", "7")),
                response={"decision": allow},
                execution=run,
                denial=Denial(codes=tuple(codes)) if codes else None,
                **members,
            )
        )

    def edge(
        self, relation: Any, from_: str, to: str, *, time: int | None = None, **to_members: Any
    ) -> int:
        """Ends are written ``type:id``."""
        ends = [one.partition(":") for one in (from_, to)]
        return self.add(
            Edge(
                **self.common("e", time),
                relation=relation,
                from_=Thing(type=ends[0][0], id=ends[0][2]),  # type: ignore[arg-type]
                to=Thing(type=ends[1][0], id=ends[1][2], **to_members),  # type: ignore[arg-type]
            )
        )

    def outcome(
        self,
        run: str,
        status: Any = "completed",
        *,
        time: int | None = None,
        denial: Denial | None = None,
    ) -> int:
        common = self.common("o", time)
        return self.add(Outcome(**common, execution=run, status=status, denial=denial))

    def verification(self, run: str, state: Any = "verified") -> int:
        return self.add(Verification(**self.common("v"), execution=run, state=state, checks=()))

    @contextmanager
    def speaking_as(self, producer: str) -> Iterator[None]:
        """Appends in another producer's name."""
        before, self.producer = self.producer, producer
        yield
        self.producer = before

    def revoke(self, *, since: int = NOW - 10, **target: str) -> int:
        return self.add(
            Revocation(**self.common("r"), target=Target(**target), since=since, reason="because")
        )

    def facts(self, *, time: int = NOW, size: int | None = None) -> MemoryFacts:
        size = len(self.records) if size is None else size
        return MemoryFacts(Head(self.origin, size, time), list(enumerate(self.records[:size])))

    def entries(self) -> list[bytes]:
        return [encode_record(record) for record in self.records]

    def checkpoint(self, *, post_quantum: bool = False, now: int = NOW) -> SignedCheckpoint:
        entries = self.entries()
        cosigners = [(witness_mldsa44 if post_quantum else witness)(name) for name in WITNESSES]
        return sign_checkpoint(
            Checkpoint(self.origin, len(entries), MTH(entries)),
            [log_signer(self.origin), *cosigners],
            now,
        )

    def permit(self, index: int, **how: Any) -> Permit:
        entries = self.entries()
        proof = TlogProof(index, tuple(PATH(index, entries)), self.checkpoint(**how))
        return Permit.of(entries[index], proof)


def story(**members: Any) -> tuple[World, int]:
    """An orchestrator's run triggers a sub-agent's: continuous. Returns the sub-run's decision."""
    world = World()
    world.decide("plan", id_="d-plan", subject="orch")
    world.edge("performed_by", "run:plan", "agent:orch")
    world.edge("delegated_by", "agent:sub", "agent:orch")
    index = world.decide("call", id_="d-call", **{"artifact": artifact(), **members})
    world.edge("authorized_by", "run:call", "decision:d-call")
    world.edge("performed_by", "run:call", "agent:sub")
    world.edge("triggered_by", "run:call", "run:plan")
    return world, index


def plain_decision(
    id_: str, time: int, subject: str = "planner", producer: str = logsim.GATEWAY
) -> bytes:
    """A decision without anything that is out of the ordinary."""
    request = {
        "action": {"name": "call"},
        "resource": {"id": "x", "type": "tool"},
        "subject": {"id": subject, "type": "agent"},
    }
    return encode_canonical(
        {
            "v": 1,
            "kind": "decision",
            "id": id_,
            "time": time,
            "producer": producer,
            "request": request,
            "response": {"decision": True},
        }
    )
