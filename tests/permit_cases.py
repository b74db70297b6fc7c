"""A permit that is good as it stands, and the ways to spoil it before it is verified."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from governed import AUTHORITY, GATEWAY, World, artifact, policy, runtime, story
from muniment.lineage import Head, MemoryFacts
from muniment.permit import Permit, Trust, verify_permit
from muniment.permit.verdict import Verdict
from muniment.records.authority import authority_vkey, sign_decision
from muniment.records.kinds import Decision
from signing import NOW, ORIGIN, ed25519

GATEWAY_KEY = authority_vkey(GATEWAY, ed25519("gateway"))


@dataclass
class Setup:
    """A permit that is good as it stands, and the ways to spoil it before it is verified."""

    members: dict[str, Any] = field(default_factory=dict)
    artifact: dict[str, Any] = field(default_factory=dict)
    after: list[Callable[[World], object]] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)
    trust: dict[str, Any] = field(default_factory=dict)
    permit: list[Callable[[Permit], Permit]] = field(default_factory=list)
    head: dict[str, Any] = field(default_factory=dict)
    signers: tuple[str, ...] = ("authority",)

    def verdict(self) -> Verdict:
        stated = self.members.get("artifact", artifact(**self.artifact))
        world, index = story(**{**self.members, "artifact": stated})
        decision = world.records[index]
        assert isinstance(decision, Decision)
        for signer in self.signers:
            decision = sign_decision(decision, f"{signer}.example", ed25519(signer))
        world.records[index] = decision
        for change in self.after:
            change(world)
        permit = world.permit(index)
        for spoil in self.permit:
            permit = spoil(permit)
        head = Head(ORIGIN, len(world.records), NOW)._replace(**self.head)
        facts = MemoryFacts(head, list(enumerate(world.records))[: head.size])
        trust = {
            "policy": policy(),
            "authorities": (AUTHORITY,),
            "gateways": (GATEWAY_KEY,),
            **self.trust,
        }
        context = runtime(**({"parent": "plan", "facts": facts} | self.context))
        return verify_permit(permit, context, Trust(**trust))
