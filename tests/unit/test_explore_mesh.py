"""The explorer's pages of the mesh and of evidence: what is read, what is asked."""

import contextlib
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

import byzantine
from explore_tools import explored, exploring, reach, read, sim_of
from governed import World, artifact
from logsim import GATEWAY, LOG_SIGNER, NOW, ORIGIN, POLICY, WITNESSES, LogSim, decision
from muniment.explore import mesh
from muniment.explore.asking import MAX_FILES, Given, evidence_in
from muniment.explore.evidence import judge
from muniment.explore.running import RunningExplorer
from muniment.explore.site import Beyond
from muniment.records.artifact import PolicyRef
from muniment.tlog.checkpoint import Checkpoint, parse_signed_checkpoint, sign_checkpoint
from muniment.tlog.evidence import EXTENSION, MAX_EVIDENCE_SIZE, same_size
from muniment.tlog.policy import Policy, parse_policy
from muniment.tlog.witnesswire import origin_hash
from stand import GARBAGE, NOT_FOUND, Answer, Asked, Stand
from waiting import until

HOSTILE = "<script>alert(1)</script>\u202e"


def deciding(world: World, revision: str, by: str) -> None:
    policy = PolicyRef(id="main", revision=revision, digest="sha256:" + "ab" * 32)
    with world.speaking_as(by):
        world.decide(None, artifact=artifact(policy=policy))


def two_roots() -> bytes:
    """Evidence that the log of `LogSim` signed two trees of one size."""
    heads = [Checkpoint(ORIGIN, 5, bytes([number]) * 32) for number in (1, 2)]
    return same_size(*[sign_checkpoint(head, [LOG_SIGNER], NOW) for head in heads]).encode()


async def test_drift_and_silence_are_said(tmp_path: Path) -> None:
    world = World(ORIGIN)
    world.time -= 3_600_000
    for revision, by in (("1", "gw.example/a"), ("2", "gw.example/a"), ("1", "gw.example/b")):
        deciding(world, revision, by)
    async with explored(sim_of(world), tmp_path) as explorer:
        page = await read(explorer, "mesh")
        assert "Drift:" in page
        assert page.count('class="drift"') == 2
        assert "Gateways (2)" in page
        # gw.example/b has logged one record: there is no silence to compare with.
        assert page.count("silent for longer than ever before") == 1
        assert "spiffe://example.org/agent/sub" in page
        assert "that takes --ask-witnesses" in page
        assert page.count('data-name="Cosigned this checkpoint">2026-') == 3


async def test_gateways_that_agree_do_not_drift(tmp_path: Path) -> None:
    world = World(ORIGIN)
    for by in ("gw.example/a", "gw.example/b"):
        deciding(world, HOSTILE, by)
    async with explored(sim_of(world), tmp_path) as explorer:
        page = await read(explorer, "mesh")
        assert "No drift" in page
        assert "<script>alert" not in page
        assert "\u202e" not in page


async def test_it_is_read_back_to_the_first_leaf_and_on_to_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh, "AT_ONCE", 16)
    sim = LogSim()
    sim.append([decision(number) for number in range(100)])
    async with explored(sim, tmp_path) as explorer:
        page = await read(explorer, "mesh")
        assert "read so far are leaves" in page
        while "read so far are leaves" in page:
            page = await read(explorer, "mesh")
        assert 'data-name="Records">100<' in page
        assert f"{GATEWAY}+" in page
        sim.append([decision(number) for number in range(100, 150)])
        await reach(explorer, sim.size)
        assert 'data-name="Records">150<' in await read(explorer, "mesh")


async def test_a_condemned_replica_says_so_and_shows_the_evidence(tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(number) for number in range(5)])
    async with explored(sim, tmp_path) as explorer:
        sim.overrides["checkpoint"] = sim.checkpoint(root=bytes(32))
        await until(lambda: explorer.site.following.misbehaviour is not None)
        page = await read(explorer, "evidence")
        assert "Proven: the log signed two different trees of the same size" in page
        assert "own follower" in page
        name = page.partition('href="/evidence/')[2].partition('"')[0]
        file = await read(explorer, f"evidence/{name}")
        assert sha256(file.encode()).hexdigest() + EXTENSION == name
        assert "misbehaviour" in await read(explorer, "mesh", status=503)


async def test_a_folder_of_evidence_is_verified_and_explained(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    folder.mkdir()
    (folder / f"good{EXTENSION}").write_bytes(two_roots())
    (folder / f"again{EXTENSION}").write_bytes(two_roots())
    (folder / f"bad{EXTENSION}").write_bytes(b"muniment/evidence/v1\nnonsense\n")
    (folder / f"long{EXTENSION}").write_bytes(b"x" * (MAX_EVIDENCE_SIZE + 2))
    (folder / "<b>other").write_bytes(b"is no evidence")
    log = byzantine.ByzantineLog()
    log.main.append(3)
    other = log.split("other", 1, 3)
    (folder / f"stranger{EXTENSION}").write_bytes(
        same_size(log.main.checkpoint(), other.checkpoint()).encode()
    )
    sim = LogSim()
    sim.append([decision(0)])
    async with explored(sim, tmp_path) as explorer:
        assert "No evidence is known here" in await read(explorer, "evidence")
        explorer.site.beyond = Beyond(evidence=folder)
        page = await read(explorer, "evidence")
        assert page.count("<h2>Proven:") == 1
        assert "Which history is the true one, this does not say" in page
        assert f"good{EXTENSION}" in page
        assert f"again{EXTENSION}" in page
        assert page.count("<strong>Not verified:</strong>") == 3
        assert "is longer than evidence can be" in page

        explorer.site.beyond = Beyond(evidence=tmp_path / "nowhere")
        assert "No evidence is known here" in await read(explorer, "evidence")


def test_of_many_files_the_newest_are_read(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 10):
        (tmp_path / f"{number}{EXTENSION}").write_bytes(b"x")
    assert len(evidence_in(tmp_path)) == MAX_FILES


@contextlib.asynccontextmanager
async def watched(
    sim: LogSim, folder: Path, answer: "dict[str, Answer]"
) -> AsyncIterator[tuple[RunningExplorer, Stand]]:
    """An explorer that asks three witnesses, all at one address, that answer so."""

    def respond(asked: Asked) -> Answer:
        return answer.get(asked.path, NOT_FOUND)

    with Stand(respond).serve() as stand:
        lines = [f"log {LOG_SIGNER.vkey}"]
        lines += [f"witness w{n} {one.vkey} {stand.url()}" for n, one in enumerate(WITNESSES, 1)]
        lines += ["group majority 2 w1 w2 w3", "quorum majority", ""]
        policy: Policy = parse_policy("\n".join(lines).encode())
        async with (
            sim.serve() as url,
            exploring(url, folder / "replica", policy=policy) as explorer,
        ):
            await reach(explorer, sim.size)
            explorer.site.beyond = Beyond(asks_witnesses=True)
            yield explorer, stand


async def mesh_of(explorer: RunningExplorer) -> str:
    """The page, once the witnesses were asked."""
    while "are being asked" in (page := await read(explorer, "mesh")):
        pass
    return page


async def test_witnesses_are_asked_and_compared(tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(number) for number in range(20)])
    shown = Answer(body=sim.checkpoint(10))
    async with watched(sim, tmp_path, {f"/{origin_hash(ORIGIN)}/checkpoint": shown}) as (
        explorer,
        _,
    ):
        page = await mesh_of(explorer)
        assert page.count("10 leaves: one history with the log’s head") == 3
        assert "Proven" not in page


async def test_what_a_witness_shows_of_another_history_is_evidence(tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(number) for number in range(20)])
    evidence = two_roots()
    name = sha256(evidence).hexdigest()
    listed = {"evidence": [{"origin": ORIGIN, "hash": name, "kind": "same-size", "time": 1}]}
    answers = {
        f"/{origin_hash(ORIGIN)}/checkpoint": Answer(body=sim.checkpoint(root=bytes(32))),
        "/gossip/evidence": Answer(body=json.dumps(listed).encode()),
        f"/gossip/evidence/{name}{EXTENSION}": Answer(body=evidence),
    }
    async with watched(sim, tmp_path, answers) as (explorer, _):
        page = await mesh_of(explorer)
        assert "proven-same-size" in page
        assert page.count("another history than the log’s") == 3
        assert '<li class="alarm">' in await read(explorer, "")  # on the overview, too
        page = await read(explorer, "evidence")
        assert page.count("<h2>Proven:") == 1
        assert await read(explorer, f"evidence/{name}{EXTENSION}") == evidence.decode()
        await read(explorer, f"evidence/{'0' * 64}{EXTENSION}", status=404)


@pytest.mark.parametrize("odd", GARBAGE)
async def test_whatever_a_witness_answers_the_pages_come(tmp_path: Path, odd: Answer) -> None:
    sim = LogSim()
    sim.append([decision(0)])
    paths = (f"/{origin_hash(ORIGIN)}/checkpoint", "/gossip/evidence")
    async with watched(sim, tmp_path, dict.fromkeys(paths, odd)) as (explorer, _):
        assert "Proven" not in await mesh_of(explorer)
        assert "No evidence is known here" in await read(explorer, "evidence")


async def test_a_witness_is_not_asked_with_every_look(tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(0)])
    path = f"/{origin_hash(ORIGIN)}/checkpoint"
    async with watched(sim, tmp_path, {path: Answer(body=sim.checkpoint())}) as (explorer, stand):
        for _ in range(3):
            await mesh_of(explorer)
        assert stand.count(path) == 1


def test_nothing_is_proven_by_a_key_that_is_not_the_logs(tmp_path: Path) -> None:
    class Site:
        policy = POLICY
        beyond = Beyond()

    log = byzantine.ByzantineLog(ORIGIN)
    log.main.append(3)
    other = log.split("other", 1, 3)
    file = same_size(
        parse_signed_checkpoint(log.main.checkpoint().encode()), other.checkpoint()
    ).encode()
    [item] = judge([Given("x", file)], Site(), ORIGIN)  # type: ignore[arg-type]
    assert item.proven is None
    assert item.trouble
