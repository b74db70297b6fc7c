"""Lineage bundles in the browser: the same trace, breaks and words as by the command."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import browser
import page_cases
from fuzzing import corpus
from governed import GATEWAY, World, artifact, policy, story
from muniment import Erasure, withhold
from muniment.lineage import BREAK_KINDS, build_bundle, plan_multiproof
from muniment.records.api import Binding, Validity
from muniment.records.authority import authority_vkey
from muniment.records.kinds import Decision
from muniment.records.manifest import NO_PREVIOUS, Manifest, sign_manifest
from muniment.records.thingnames import thing_name
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.merkle import leaf_hash
from muniment.tlog.note import Ed25519Signer
from muniment.tlog.policy import format_policy
from page_cases import Case, same
from rfc6962 import MTH
from signing import NOW, ORIGIN, ed25519, log_signer, witness

PRODUCERS = (GATEWAY, "gateway.example/two", "ünlaut.example")
NAMES = (PRODUCERS[1], ORIGIN)
"""Of keys that are revoked; the log's signs for those who cannot."""
RUNS = ("call", "plan", "other", "far")
AGENTS = ("sub", "orch", "root", "Ada <b>Ö</b>\u202e", "UTF-8''x")
DECISIONS = ("d-call", "d-plan", "d-1", "d-2")
THUMBPRINT = "sha256:" + "ef" * 32
SIGNER = Ed25519Signer(GATEWAY, ed25519("gateway"))
KEY = f"{SIGNER.vkey.name}+{SIGNER.vkey.key_id:08x}"


def bundled(world: World, chance: random.Random | None = None, **bundle: Any) -> Case:
    """All of a world's records in a bundle, with manifests between them where chance puts some."""
    entries: list[bytes] = []
    waiting: list[bytes] = []
    first, previous = 0, NO_PREVIOUS
    for record in world.entries():
        waiting.append(record)
        entries.append(record)
        if chance is not None and chance.random() < 0.2:
            manifest = Manifest(
                world.origin, GATEWAY, "s", first, len(waiting), MTH(waiting), previous
            )
            data = sign_manifest(manifest, SIGNER)
            entries.append(data)
            first, previous, waiting = first + len(waiting), leaf_hash(data), []
    cosigners = [witness("w1.example"), witness("w2.example")]
    head = Checkpoint(world.origin, len(entries), MTH(entries))
    checkpoint = sign_checkpoint(head, [log_signer(world.origin), *cosigners], NOW)
    chosen = dict(enumerate(entries))
    if chance is not None and chance.random() < 0.5:
        chosen.pop(chance.randrange(len(entries)) if len(entries) > 1 else -1, None)
    nodes = {
        node: MTH(entries[node.index << node.level : node.index + 1 << node.level])
        for node in plan_multiproof(chosen, len(entries))
    }
    made = build_bundle("call", checkpoint, chosen, nodes, **bundle)
    return Case("lineage", {"file": made.encode(), "policy": format_policy(policy())})


def random_world(chance: random.Random) -> World:
    """Records by several producers about few things, so that they meet in every way."""
    world = story()[0] if chance.random() < 0.6 else World()
    name = thing_name

    def some(kind: str) -> str:
        names = {"run": RUNS, "agent": AGENTS, "decision": DECISIONS}[kind]
        return f"{kind}:{name(chance.choice(names))}"

    for _ in range(chance.randint(1, 14)):
        producer = chance.choice([GATEWAY, GATEWAY, *PRODUCERS])
        at = (NOW + chance.choice([-2000, -20, 0, 30, 90, 5000])) * 1000 + 7
        external = {"origin": chance.choice([ORIGIN, "else.example"]), "index": 3, "leaf": LEAF}
        to = external if chance.random() < 0.15 else {}
        with world.speaking_as(producer):
            match chance.randrange(10):
                case 0 | 1:
                    validity = Validity(
                        not_before=NOW - 1000, not_after=NOW + chance.choice([-10, 10, 1000])
                    )
                    binding = Binding(thumbprint=THUMBPRINT)
                    world.decide(
                        chance.choice([None, *RUNS]),
                        id_=chance.choice(DECISIONS),
                        subject=chance.choice(AGENTS),
                        allow=chance.random() < 0.8,
                        artifact=chance.choice(
                            [None, artifact(validity=validity), artifact(binding=binding)]
                        ),
                    )
                case 2:
                    world.edge("authorized_by", some("run"), some("decision"), time=at, **to)
                case 3 | 4:
                    one, other = chance.sample(RUNS, 2)
                    world.edge("triggered_by", f"run:{one}", f"run:{other}", time=at, **to)
                case 5:
                    world.edge("performed_by", some("run"), some("agent"), time=at, **to)
                case 6:
                    one, other = (name(agent) for agent in chance.sample(AGENTS, 2))
                    world.edge("delegated_by", f"agent:{one}", f"agent:{other}", time=at, **to)
                case 7:
                    world.edge("revoked_by", some("decision"), some("run"), time=at)
                case 8:
                    status = chance.choice(["completed", "failed", "unknown", "not_run"])
                    world.outcome(chance.choice(RUNS), status, time=at)
                    if chance.random() < 0.3:
                        world.verification(chance.choice(RUNS))
                case _:
                    key = chance.choice([KEY, THUMBPRINT, *(f"{name}+00000001" for name in NAMES)])
                    target = chance.choice(
                        [
                            {"decision": chance.choice(DECISIONS)},
                            {"execution": "plan"},
                            {"key": key},
                        ]
                    )
                    world.revoke(since=NOW + chance.choice([-10, -10, 50, 10**9]), **target)
    return world


LEAF = "A" * 43 + "="


def test_a_continuous_lineage_is_continuous(page: browser.Page, tmp_path: Path) -> None:
    [told] = same(page, tmp_path, [bundled(story()[0])])
    assert told["trace"]["continuous"]


def test_random_lineages_get_the_same_traces(page: browser.Page, tmp_path: Path) -> None:
    chance = random.Random(22)
    cases: list[Case] = []
    for _ in range(300):
        case = bundled(random_world(chance), chance)
        if chance.random() < 0.4:
            named = chance.sample(PRODUCERS, chance.randint(1, 2))
            keys = [authority_vkey(one, ed25519("gateway")) for one in named]
            case = case.with_file("gateways", "".join(f"{key}\n" for key in keys).encode())
        cases.append(case)
    said = same(page, tmp_path, cases)
    kinds = {one["kind"] for told in said for one in told["trace"]["breaks"]}
    assert kinds == {*BREAK_KINDS} - {"truncated"}
    assert any(told["trace"]["warnings"] for told in said)
    assert any(told["trace"]["unheard"] for told in said)


def test_a_crowd_of_delegations_is_read_by_the_page(page: browser.Page, tmp_path: Path) -> None:
    """Strangers may fill pages before somebody speaks whose word counts."""
    world, _ = story()
    with world.speaking_as(PRODUCERS[1]):
        for number in range(300):
            world.edge("delegated_by", "agent:orch", f"agent:x{number}")
    world.edge("delegated_by", "agent:orch", "agent:nobody")
    for number in range(300):
        world.edge("delegated_by", "agent:orch", f"agent:y{number}")
    [told] = same(page, tmp_path, [bundled(world)])
    assert [one["kind"] for one in told["trace"]["breaks"]] == ["truncated"]


def test_disclosed_and_erased_members_are_told(page: browser.Page, tmp_path: Path) -> None:
    world, index = story()
    decision = world.records[index]
    assert isinstance(decision, Decision)
    for member in ("subject", "resource"):
        decision.request[member]["properties"] = {"of": member}
    world.records[index], addenda = withhold(decision, ("/request/*/properties",))
    one, other = addenda.values()
    for producer in ("stranger.example", ORIGIN):
        with world.speaking_as(producer):
            world.add(Erasure(**world.common("x"), digests=tuple(sorted(addenda)), by="a rule"))
    cases = [bundled(world, addenda=given) for given in ((), (one,), (one, other))]
    cases += [replace(cases[0], addenda=given) for given in ((one,), (b"{}",))]
    told = same(page, tmp_path, cases)
    assert [len(told[number]["addenda"][0]["disclosed"]) for number in range(4)] == [0, 1, 2, 1]
    assert told[0]["addenda"][0]["erased"] != {}


def test_mutated_bundles_get_the_same_verdicts(page: browser.Page, tmp_path: Path) -> None:
    chance = random.Random(21)
    good = [bundled(random_world(chance), chance) for _ in range(5)]
    cases = [good[0].with_file("file", data) for data in corpus.load("lineage-bundle")]
    for _ in range(300):
        case = chance.choice(good)
        cases.append(case.with_file("file", page_cases.mutate(chance, case.files["file"])))
    said = same(page, tmp_path, cases)
    assert len({str(told.get("reason")) for told in said}) > 40
