"""Permits with completeness proofs: judged as by a replica, refreshed alone, denied without."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from complete_tools import Indexed
from governed import DIGEST, GATEWAY, World, artifact, policy, runtime, story
from muniment.complete.asking import Ask
from muniment.complete.keys import Key
from muniment.complete.listing import KeyList
from muniment.complete.prooffile import CompleteProof, verify_complete
from muniment.permit import Permit, Trust, Verdict, parse_permit, verify_permit
from muniment.permit.context import ExpectedPolicy
from muniment.permit.status import fetch_status, refresh_status, revocation_keys
from muniment.records.artifact import Actor, Attribution
from muniment.records.authority import authority_vkey, key_reference
from muniment.records.manifest import MANIFEST
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from signing import NOW, ed25519, log_signer

OTHER = "gateway.example/two"
TRUST = Trust(policy=policy())
CONTEXT = runtime(policy=ExpectedPolicy(id="main"))


class Asked:
    """A log that answers from its world, and notes what it was asked."""

    def __init__(self, world: World, now: int = NOW) -> None:
        self.world = world
        self.now = now
        self.questions: list[tuple[tuple[Key, ...], bool]] = []
        self.answers: list[CompleteProof] = []

    async def __call__(
        self, keys: Sequence[Key], *, size: int, records: bool, limit: int | None = None
    ) -> CompleteProof:
        assert size <= len(self.world.records)
        self.questions.append((tuple(keys), records))
        assert limit == 256
        self.answers.append(
            Indexed.of(self.world).prove(keys, records=records, limit=limit, now=self.now)
        )
        return self.answers[-1]


def fetched(permit: Permit, ask: Ask, trust: Trust = TRUST, now: int = NOW) -> Permit:
    return asyncio.run(fetch_status(permit, ask, trust, now=now))


def refreshed(permit: Permit, ask: Ask, trust: Trust = TRUST, now: int = NOW) -> Permit:
    return asyncio.run(refresh_status(permit, ask, trust, now=now))


def test_a_permit_with_its_status_needs_no_replica() -> None:
    world, index = story()
    bare = world.permit(index)
    assert verify_permit(bare, CONTEXT, TRUST).codes == ("governance_mesh_discontinuity",)
    log = Asked(world)
    permit = fetched(bare, log)
    verdict = verify_permit(permit, CONTEXT, TRUST)
    assert verdict.permitted, verdict.findings
    assert verdict.head.size == len(world.records)
    assert len(log.questions) <= 6
    assert verdict == verify_permit(bare, replace(CONTEXT, facts=world.facts()), TRUST)


def test_a_revocation_of_an_ancestor_denies() -> None:
    world, index = story()
    bare = world.permit(index)
    world.revoke(execution="plan")
    permit = fetched(bare, Asked(world))
    assert verify_permit(permit, CONTEXT, TRUST).codes == ("revoked_authorization",)


def test_a_refresh_is_one_request_without_records() -> None:
    world, index = story()
    permit = fetched(world.permit(index), Asked(world))
    world.decide("elsewhere")
    log = Asked(world, NOW + 3600)
    late = replace(CONTEXT, now=NOW + 3600)
    assert "governance_mesh_discontinuity" in verify_permit(permit, late, TRUST).codes
    fresh = refreshed(permit, log, now=NOW + 3600)
    [(keys, records)] = log.questions
    assert set(keys) == set(permit.status[0].keys)
    assert not records
    assert verify_permit(fresh, replace(late, now=NOW + 900), TRUST).permitted is False  # ahead
    verdict = verify_permit(fresh, late, TRUST)
    assert [one.check for one in verdict.findings] == ["validity"]  # of the artifact alone


def test_a_refresh_that_meets_new_records_fetches_them() -> None:
    world, index = story()
    permit = fetched(world.permit(index), Asked(world))
    world.revoke(execution="call")
    log = Asked(world)
    fresh = refreshed(permit, log)
    assert len(log.questions) > 1
    assert verify_permit(fresh, CONTEXT, TRUST).codes == ("revoked_authorization",)
    assert len(fresh.status) == 1


class TestOnlyRevocations:
    """What is revoked, asked for anew alone; the lineage stays as it was proven."""

    def test_what_was_refreshed_of_the_lineage_stays(self) -> None:
        world, index = story()
        permit = fetched(world.permit(index), Asked(world))
        for _ in range(2):
            world.decide("elsewhere")
            permit = refreshed(permit, Asked(world, NOW + 200), now=NOW + 200)
            for seconds in (310, 400):
                world.decide("elsewhere")
                now = NOW + seconds
                work = refresh_status(
                    permit, Asked(world, now), TRUST, now=now, only_revocations=True
                )
                permit = parse_permit(asyncio.run(work).encode())
                assert len(permit.status) == 3
                verdict = verify_permit(permit, replace(CONTEXT, now=now), TRUST)
                assert verdict.permitted, verdict.findings

    def test_it_is_less_and_has_its_own_age(self) -> None:
        world, index = story()
        permit = fetched(world.permit(index), Asked(world))
        world.decide("elsewhere")
        log = Asked(world, NOW + 400)
        work = refresh_status(permit, log, TRUST, now=NOW + 400, only_revocations=True)
        fresh = parse_permit(asyncio.run(work).encode())
        [(keys, _)] = log.questions
        assert {one.kind for one in keys} == {"revocations"}
        late = replace(CONTEXT, now=NOW + 400)
        apart = replace(TRUST, max_facts_age=3600, max_index_age=10)
        verdict = verify_permit(fresh, late, apart)
        assert verdict.permitted, verdict.findings
        assert verdict.head.size == len(world.records) - 1  # of the lineage
        assert not verify_permit(permit, late, apart).permitted
        assert not verify_permit(fresh, late, TRUST).permitted  # whose facts may be 300 s old
        older = replace(late, now=NOW + 411)
        assert not verify_permit(fresh, older, apart).permitted

    def test_each_part_counts_by_its_own_age(self) -> None:
        """Who holds a permit could put together what is new, and leave the rest as it was."""
        world, index = story()
        permit = fetched(world.permit(index), Asked(world))
        [first] = permit.status
        world.revoke(execution="call")
        indexed = Indexed.of(world)
        apart = replace(TRUST, max_facts_age=3600, max_index_age=10)
        late = replace(CONTEXT, now=NOW + 400)
        keys = revocation_keys(first.keys)
        assert len(keys) > 1
        for left_out in keys:
            some = [key for key in keys if key != left_out]
            second = indexed.prove(some, now=NOW + 400)
            forged = permit.with_status(first, second)
            assert not verify_permit(forged, late, apart).permitted, left_out

    @pytest.mark.parametrize(
        "target",
        [{"execution": "call"}, {"execution": "plan"}, {"decision": "d-call"},
         {"decision": "d-plan"}, {"key": f"{GATEWAY}+0000002a"}],
    )  # fmt: skip
    def test_every_revocation_denies(self, target: dict[str, Any]) -> None:
        world, index = story()
        permit = fetched(world.permit(index), Asked(world))
        world.revoke(**target)
        work = refresh_status(permit, Asked(world), TRUST, now=NOW, only_revocations=True)
        assert verify_permit(asyncio.run(work), CONTEXT, TRUST).codes == ("revoked_authorization",)


def test_an_older_proof_than_the_runtime_takes_denies() -> None:
    world, index = story()
    permit = fetched(world.permit(index), Asked(world))
    late = replace(CONTEXT, now=NOW + 61)
    assert verify_permit(permit, late, replace(TRUST, max_index_age=61)).permitted
    verdict = verify_permit(permit, late, replace(TRUST, max_index_age=60))
    assert verdict.codes == ("governance_mesh_discontinuity",)
    assert [one.check for one in verdict.findings] == ["index age"]
    # The index log's own cosignatures are new; the tree that it is about is old.
    still = Indexed.of(world).prove(permit.status[0].keys, records=True, index_now=NOW + 61)
    stood = permit.with_status(still)
    assert not verify_permit(stood, late, replace(TRUST, max_index_age=60)).permitted


def test_what_the_proof_does_not_cover_denies() -> None:
    world, index = story()
    bare = world.permit(index)
    permit = fetched(bare, Asked(world))
    keys = permit.status[0].keys
    assert len(keys) > 1
    indexed = Indexed.of(world)
    for left_out in keys:
        rest = [key for key in keys if key != left_out]
        verdict = verify_permit(bare.with_status(indexed.prove(rest, records=True)), CONTEXT, TRUST)
        assert verdict.codes == ("governance_mesh_discontinuity",), left_out


def test_a_proof_that_does_not_verify_denies() -> None:
    world, index = story()
    permit = fetched(world.permit(index), Asked(world))
    broken = permit.with_status(replace(permit.status[0], map_root=bytes(32)))
    verdict = verify_permit(broken, CONTEXT, TRUST)
    assert verdict.codes == ("governance_mesh_discontinuity",)
    assert verdict.findings[0].check == "status"
    nobody = replace(TRUST, index_policy=replace(policy(), quorum="none", groups=(), logs=()))
    assert not verify_permit(permit, CONTEXT, nobody).permitted


def test_a_map_that_hides_a_revocation_from_one_list_is_caught_by_another() -> None:
    world, index = story()
    bare = world.permit(index)
    keys = {*fetched(bare, Asked(world)).status[0].keys, Key("revocations", ("execution", "call"))}
    world.revoke(execution="call")
    honest = Indexed.of(world)
    revocations = Key("revocations", ("execution", "call")).digest
    run = Key("execution", ("call",)).digest
    for hidden in (revocations, run):
        lying = Indexed.of(world)
        lying.lists[hidden] = lying.lists[hidden][:-1]
        lying.remake()
        permit = bare.with_status(lying.prove(keys, records=True))
        assert not verify_permit(permit, CONTEXT, TRUST).permitted
    assert not verify_permit(
        bare.with_status(honest.prove(keys, records=True)), CONTEXT, TRUST
    ).permitted


def test_a_log_that_keeps_records_back_is_not_believed() -> None:
    world, index = story()

    async def ask(
        keys: Sequence[Key], *, size: int, records: bool, limit: int | None = None
    ) -> CompleteProof:
        return Indexed.of(world).prove(keys)

    with pytest.raises(VerificationError, match="are not with it"):
        fetched(world.permit(index), ask)


def test_a_status_without_manifests_saves_no_permit_of_a_revoked_key() -> None:
    """Who holds a permit leaves out what tells that the stolen key signed it."""
    world, index = story()
    stolen, successor = (authority_vkey(GATEWAY, ed25519(seed)) for seed in ("stolen", "new"))
    world.revoke(key=key_reference(stolen))
    trust = replace(TRUST, gateways=(successor,))
    permit = fetched(world.permit(index), Asked(world), trust)
    assert not any(leaf.startswith(MANIFEST) for _, leaf in permit.status[0].entries)
    assert verify_permit(permit, CONTEXT, trust).codes == ("revoked_authorization",)


def test_a_busy_agent_is_judged_by_the_beginning_of_its_list() -> None:
    """Lineage reads the first page of an agent's delegations; its proof has no more of them."""
    world, index = story()
    for _ in range(300):
        world.edge("delegated_by", "agent:sub", "agent:orch")
    permit = fetched(world.permit(index), Asked(world))
    delegations = dict(permit.status[0].lists)[Key("from", ("agent", "sub"))]
    assert (delegations.count, len(delegations.indices)) == (301, 256)
    verdict = verify_permit(permit, CONTEXT, TRUST)
    assert verdict.permitted, verdict.findings


@pytest.mark.parametrize("target", [{"decision": "d-call"}, {"execution": "call"}])
def test_a_list_of_which_nothing_is_named_hides_no_revocation(target: dict[str, str]) -> None:
    world, index = story()
    world.revoke(**target)
    [part] = target.items()
    revoked = Key("revocations", part)
    permit = fetched(world.permit(index), Asked(world))
    keys = {*permit.status[0].keys, revoked}
    proof = Indexed.of(world).prove(keys, records=True)
    # Who has the permit makes this of a proof of the log's, and it verifies.
    whole = dict(proof.lists)[revoked].value()
    none = KeyList(1, (), (whole[8:],))
    lists = tuple((key, none if key == revoked else found) for key, found in proof.lists)
    if "decision" in target:  # no other list has the record, and so it cannot come along
        named = {key for key in keys if key != revoked}
        other = Indexed.of(world).prove(named, records=True)
        proof = replace(proof, entries=other.entries, nodes=other.nodes)
    forged = replace(proof, lists=lists)
    assert verify_complete(forged, policy()).lists[revoked].count == 1
    verdict = verify_permit(permit.with_status(forged), CONTEXT, TRUST)
    assert not verdict.permitted
    assert "more" in [one.found for one in verdict.findings]


class TestFile:
    def test_the_status_travels_in_the_permit(self) -> None:
        world, index = story()
        permit = fetched(world.permit(index), Asked(world))
        both = permit.with_status(permit.status[0], Indexed.of(world).prove(permit.status[0].keys))
        for one in (permit, both):
            data = one.encode()
            again = parse_permit(data)
            assert again == one
            assert again.encode() == data
            # What stands behind the status is the permit as it was.
            assert parse_permit(data.split(b"\n\n", 1)[1]) == world.permit(index)

    @pytest.mark.parametrize(
        "head",
        [
            "muniment/permit-with-status/v1\n\n",
            "muniment/permit-with-status/v1\nstatus AAAA\n\n",
            "muniment/permit-with-status/v1\naddendum AAAA\n\n",
            "muniment/permit-with-status/v1\n",
        ],
    )
    def test_no_other_head(self, head: str) -> None:
        world, index = story()
        with pytest.raises(FormatError):
            parse_permit(head.encode() + world.permit(index).encode())

    def test_not_more_than_three(self) -> None:
        world, index = story()
        permit = fetched(world.permit(index), Asked(world))
        with pytest.raises(FormatError, match="more than 3"):
            permit.with_status(*permit.status * 4)


# Random lineages


def two_of(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.permutations(names).map(lambda found: list(found[:2]))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, int]:
    """A log of a few runs and agents, with all that can go wrong, and a decision to judge."""
    world = World()
    runs = ["call", "plan", "root", "side"]
    agents = ["sub", "orch", "boss"]
    ids = iter(range(100))
    stories = st.sampled_from(
        ["decide", "decide", "trigger", "trigger", "perform", "delegate", "authorize", "outcome",
         "verification", "revoke", "revoked_by", "use"]
    )  # fmt: skip
    run, agent = st.sampled_from(runs), st.sampled_from(agents)

    def said() -> None:
        match draw(stories):
            case "decide":
                world.decide(
                    draw(run | st.none()),
                    id_=f"d-{next(ids)}",
                    subject=draw(agent),
                    allow=draw(st.integers(0, 7)) > 0,
                    artifact=draw(st.sampled_from([None, artifact()])),
                )
            case "trigger":
                one, other = draw(two_of(runs))
                world.edge("triggered_by", f"run:{one}", f"run:{other}")
            case "perform":
                world.edge("performed_by", f"run:{draw(run)}", f"agent:{draw(agent)}")
            case "delegate":
                one, other = draw(two_of(agents))
                world.edge("delegated_by", f"agent:{one}", f"agent:{other}")
            case "authorize":
                end = f"decision:d-{draw(st.integers(0, 6))}"
                world.edge("authorized_by", f"run:{draw(run)}", end)
            case "outcome":
                world.outcome(draw(run))
            case "verification":
                world.verification(draw(run))
            case "revoke":
                target = draw(
                    st.sampled_from(
                        [{"execution": draw(run)}, {"decision": f"d-{draw(st.integers(0, 6))}"},
                         {"key": DIGEST}, {"key": f"{draw(producers)}+0000002a"}]
                    )
                )  # fmt: skip
                world.revoke(since=draw(st.sampled_from([NOW - 10, NOW + 10])), **target)
            case "revoked_by":
                decided = f"decision:d-{draw(st.integers(0, 6))}"
                world.edge("revoked_by", decided, f"run:{draw(run)}")
            case _:
                world.edge("used", f"run:{draw(run)}", f"artifact:{draw(st.integers(0, 2))}")

    producers = st.sampled_from([GATEWAY, OTHER])
    for _ in range(draw(st.integers(0, 8))):
        with world.speaking_as(draw(producers)):
            said()
    world.decide("plan", id_="d-plan", subject="orch")
    index = world.decide(
        draw(st.sampled_from(["call", "call", None])),
        id_="d-call",
        artifact=artifact(attribution=Attribution(authority="acme", act=Actor(sub="sub"))),
    )
    world.edge("performed_by", "run:call", "agent:sub")
    if draw(st.booleans()):
        world.edge("triggered_by", "run:call", "run:plan")
    for _ in range(draw(st.integers(0, 12))):
        with world.speaking_as(draw(producers)):
            said()
    return world, index


BOTH = (log_signer(GATEWAY).vkey, log_signer(OTHER).vkey)
trusts = st.builds(
    lambda gateways, unlogged: replace(
        TRUST, gateways=gateways, allow_unlogged_delegation=unlogged
    ),
    st.sampled_from([None, (log_signer(GATEWAY).vkey,), (log_signer(OTHER).vkey,), BOTH]),
    st.booleans(),
)


def compared(verdict: Verdict) -> list[str]:
    """The findings, but for why a decision that an edge claims is not one on the edge's run.

    A replica knows a decision on any other run, a proof those on the runs that it covers; to both
    the edge is a break, of one kind or the other, which stands in another place.
    """
    kinds = ("lineage (dangling_decision)", "lineage (misbound_decision)")
    return sorted("claim" if one.check in kinds else repr(one) for one in verdict.findings)


@settings(deadline=None, max_examples=100)
@given(worlds(), trusts, st.sampled_from([None, "plan"]))
def test_a_proof_gives_the_verdict_of_a_replica(
    made: tuple[World, int], trust: Trust, parent: str | None
) -> None:
    world, index = made
    bare = world.permit(index)
    context = replace(CONTEXT, parent=parent)
    by_replica = verify_permit(bare, replace(context, facts=world.facts()), trust)
    try:
        permit = fetched(bare, Asked(world), trust)
    except MunimentError as error:
        pytest.fail(f"no status: {error}")
    by_proof = verify_permit(parse_permit(permit.encode()), context, trust)
    event(", ".join(by_replica.codes) or "permitted")
    assert compared(by_proof) == compared(by_replica)
    assert by_proof.head == by_replica.head
