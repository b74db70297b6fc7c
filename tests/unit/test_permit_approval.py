"""Permits of calls that a person has approved: what a runtime checks of that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from decisions import request
from governed import GATEWAY, World, approved, artifact, policy, runtime
from muniment.lineage import Head, MemoryFacts
from muniment.permit import Trust, verify_permit
from muniment.permit.verdict import Verdict
from muniment.records.api import Approval, SignedApproval, approver_vkey, key_reference
from muniment.records.commitments import addendum
from muniment.records.kinds import Decision
from signing import NOW, ORIGIN, ed25519

CAROL = approver_vkey("people.example/carol", ed25519("carol"))
DAVE = approver_vkey("people.example/dave", ed25519("dave"))
AT = NOW - 600
approval = partial(approved, GATEWAY)


@dataclass
class Setup:
    """A permit that is good as it stands, and the ways to spoil it."""

    approval: SignedApproval | None = field(default_factory=approval)
    further: tuple[SignedApproval, ...] = ()
    logged: bool = True
    subject: str = "sub"
    trust: dict[str, Any] = field(default_factory=dict)
    after: Callable[[World], object] = lambda _: None

    def verdict(self, *, facts: bool = True) -> Verdict:
        world = World()
        if self.approval is not None and self.logged:
            for one in (self.approval, *self.further):
                common: dict[str, Any] = {**world.common("x"), "id": one.id}
                world.add(Approval(**common, approval=one))
        rests_on = artifact(approval=self.approval, further_approvals=self.further or None)
        index = world.decide("call", subject=self.subject, artifact=rests_on)
        self.after(world)
        known = MemoryFacts(Head(ORIGIN, len(world.records), NOW), list(enumerate(world.records)))
        context = runtime(subject=None, policy=None, facts=known if facts else None)
        trust: dict[str, Any] = {
            "approvers": (CAROL, DAVE),
            "require_approval": True,
            "require_policy": False,
            "require_facts": facts,
            "allow_unlogged_delegation": True,
        }
        return verify_permit(
            world.permit(index), context, Trust(policy=policy(), **(trust | self.trust))
        )


def found(verdict: Verdict) -> list[str]:
    return [one.sentence for one in verdict.findings]


def test_an_approved_call_is_permitted_with_the_log_and_without() -> None:
    assert found(Setup().verdict()) == []
    assert found(Setup().verdict(facts=False)) == []
    assert found(Setup(logged=False).verdict(facts=False)) == []


CASES: dict[str, tuple[Setup, str]] = {
    "none, and one is required": (Setup(approval=None), "found none"),
    "by nobody who is known": (
        Setup(approval=approval("eve")), "found one by people.example/eve+",
    ),
    "by another key of a known name": (
        Setup(approval=approval("carol", "thief")), "an approval by a known approver",
    ),
    "nobody is known": (
        Setup(trust={"approvers": (), "require_approval": False}), "by a known approver",
    ),
    "of another call": (
        Setup(approval=approval(call="sha256:" + "0a" * 32)), "found one of another call",
    ),
    "of another subject's call": (Setup(subject="other"), "found one of another call"),
    "for another gateway": (
        Setup(approval=approval(gateway="gateway.example/two"), logged=False),
        "one for gateway.example/two",
    ),
    "used after its end": (
        Setup(approval=approval(at=AT - 1000, not_after=AT)), "expected a decision in [",
    ),
    "used before it was given": (
        Setup(approval=approval(at=NOW, not_after=NOW + 9)), "expected a decision in [",
    ),
    "by who asks": (
        Setup(approval=approval(approver="sub")), "by somebody else than who asks",
    ),
    "not in the log": (Setup(logged=False), "found no record of it"),
    "by a key that is revoked": (
        Setup(after=lambda world: world.revoke(key=key_reference(CAROL))), "a revocation at leaf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_approval_of_this_call_denies(case: str) -> None:
    setup, words = CASES[case]
    verdict = setup.verdict()
    assert not verdict.permitted
    assert any(words in one for one in found(verdict)), found(verdict)


BY_DAVE = approval("dave", id_="apr-2")
TWO: dict[str, Any] = {"approvals": 2}
CAROL_S_OTHER = approver_vkey(CAROL.name, ed25519("carol's other"))
CAROL_AS_DAVE = approver_vkey(DAVE.name, ed25519("carol"))


def test_several_people_are_demanded_and_found() -> None:
    assert found(Setup(further=(BY_DAVE,), trust=TWO).verdict()) == []
    assert found(Setup(further=(BY_DAVE,), trust=TWO).verdict(facts=False)) == []
    assert found(Setup(further=(BY_DAVE,)).verdict()) == []


FURTHER: dict[str, tuple[Setup, str]] = {
    "only one": (Setup(trust=TWO), "expected approvals by 2 people, found by 1"),
    "one who is not known": (
        Setup(further=(approval("eve", id_="apr-2"),)), "found one by people.example/eve+",
    ),
    "one for another call": (
        Setup(further=(approval("dave", id_="apr-2", call="sha256:" + "0a" * 32),), trust=TWO),
        "found one of another call",
    ),
    "one by who asks": (
        Setup(further=(approval("dave", id_="apr-2", approver="sub"),), trust=TWO),
        "by somebody else than who asks",
    ),
    "one that is over": (
        Setup(further=(approval("dave", id_="apr-2", at=AT - 1000, not_after=AT),), trust=TWO),
        "expected a decision in [",
    ),
    "one person by two keys": (
        Setup(further=(approval("dave", id_="apr-2", approver="carol"),), trust=TWO),
        "expected approvals by 2 people, found by 1",
    ),
    "one person by two keys, who says to be somebody else with one": (
        Setup(
            further=(approval("carol", "carol's other", id_="apr-2", approver="dave"),),
            trust=TWO | {"approvers": (CAROL, CAROL_S_OTHER)},
        ),
        "expected approvals by 2 people, found by 1",
    ),
    "one key under two names": (
        Setup(
            further=(approval("dave", "carol", id_="apr-2"),),
            trust=TWO | {"approvers": (CAROL, CAROL_AS_DAVE)},
        ),
        "expected approvals by 2 people, found by 1",
    ),
    "one person by two keys and two names, of which a third key tells": (
        Setup(
            approval=approval("carol", "carol's other"),
            further=(approval("dave", "carol", id_="apr-2"),),
            trust=TWO | {"approvers": (CAROL, CAROL_S_OTHER, CAROL_AS_DAVE)},
        ),
        "expected approvals by 2 people, found by 1",
    ),
    "one person by three keys that are two by any one mark": (
        Setup(
            further=(
                approval("dave", "carol", id_="apr-2"),
                approval("carol", "carol's other", id_="apr-3", approver="erin"),
            ),
            trust=TWO | {"approvers": (CAROL, CAROL_AS_DAVE, CAROL_S_OTHER)},
        ),
        "expected approvals by 2 people, found by 1",
    ),
    "a further key that is revoked": (
        Setup(further=(BY_DAVE,), after=lambda world: world.revoke(key=key_reference(DAVE))),
        "a revocation at leaf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FURTHER)
def test_each_of_several_approvals_is_checked(case: str) -> None:
    setup, words = FURTHER[case]
    verdict = setup.verdict()
    assert not verdict.permitted
    assert any(words in one for one in found(verdict)), found(verdict)


def test_a_further_approval_is_in_the_log_too() -> None:
    setup = Setup(further=(BY_DAVE,), logged=False)
    assert sum("no record of it" in one for one in found(setup.verdict())) == 2


def test_a_signature_that_does_not_verify_denies() -> None:
    forged = approval("carol", "thief")
    own = Setup(approval=msgspec.structs.replace(forged, key=key_reference(CAROL)))
    assert any("the approver's signature does not verify" in one for one in found(own.verdict()))


def test_what_is_lenient_has_to_be_said() -> None:
    unknown = {"approvers": (), "require_approval": False, "allow_unknown_approvals": True}
    assert found(Setup(trust=unknown).verdict()) == []
    own = Setup(approval=approval(approver="sub"), trust={"allow_self_approval": True})
    assert found(own.verdict()) == []
    assert found(Setup(approval=None, trust={"require_approval": False}).verdict()) == []


def test_trust_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody's would count"):
        Trust(policy=policy(), require_approval=True)
    for count in (0, 3):
        with pytest.raises(ValueError, match=f"approvals by {count} of 2 people"):
            Trust(policy=policy(), approvers=(CAROL, DAVE), approvals=count)


@pytest.mark.parametrize("user", [[], {}, ["carol"], 1.5, None, True])
def test_a_user_that_is_no_name_is_somebody_else(user: Any) -> None:
    """Whatever JSON a record has there, it is judged, and nothing is raised."""
    asked = request("sub", "read", ("document", "7")) | {"context": {"ids": {"user": user}}}

    def add(world: World) -> None:
        decision = world.records[-1]
        assert isinstance(decision, Decision)
        decision.request.update(asked)

    assert found(Setup(after=add).verdict()) == []


@pytest.mark.parametrize(("user", "permitted"), [("carol", False), ("erin", True)])
def test_who_asks_may_be_withheld_and_disclosed(user: str, permitted: bool) -> None:
    """What the log does not show of who asks, the permit does, and the approver is compared."""
    data = addendum("0a" * 16, user)
    world, one = World(), approval()
    common: dict[str, Any] = {**world.common("x"), "id": one.id}
    world.add(Approval(**common, approval=one))
    withheld = {"/request/context/ids/user": sha256(data).hexdigest()}
    index = world.decide("call", artifact=artifact(approval=one), addenda=withheld)
    decision = world.records[index]
    assert isinstance(decision, Decision)
    decision.request["context"] = {"ids": {}}
    trust = Trust(
        policy=policy(),
        approvers=(CAROL,),
        require_policy=False,
        allow_unlogged_delegation=True,
    )
    context = runtime(subject=None, policy=None, facts=world.facts())
    permit = world.permit(index)
    assert verify_permit(permit, context, trust).permitted  # nobody can tell
    verdict = verify_permit(permit.disclose(withheld, [data]), context, trust)
    assert verdict.permitted is permitted
    if not permitted:
        assert "by somebody else than who asks" in found(verdict)[0]
