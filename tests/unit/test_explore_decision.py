"""One decision in the explorer: all that is known of it, and files that verify elsewhere."""

import re
import sqlite3
from contextlib import closing
from html import unescape
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from aiohttp import ClientSession

import governed
import logsim
from explore_tools import explored
from export_tools import telling_entries
from logsim import POLICY, LogSim, decision
from muniment.explore.pathpicture import draw, steps
from muniment.explore.table import SUFFIX
from muniment.lineage import parse_bundle, verify_bundle
from muniment.permit import parse_permit
from muniment.records.manifest import MANIFEST
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.merkle import leaf_hash, node_hash
from muniment.tlog.proofs import plan_inclusion
from muniment.tlog.tlogproof import TlogProof, parse_tlog_proof, verify_tlog_proof


async def text_of(session: ClientSession, url: str, status: int = 200) -> str:
    async with session.get(url) as answer:
        text = await answer.text()
    assert answer.status == status, text
    return unescape(re.sub(r"</?bdi>", "", text))


async def test_every_leaf_has_a_page_and_a_proof(tmp_path: Path) -> None:
    sim = LogSim(entries=telling_entries())
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        for index in range(0, sim.size, 5):
            url = f"{explorer.url}decision/{index}"
            await text_of(session, url)
            async with session.get(f"{url}/proof") as answer:
                proof = parse_tlog_proof(await answer.read())
                named = answer.headers["Content-Disposition"]
                assert named == f'attachment; filename="leaf-{index}.tlog-proof"'
            verify_tlog_proof(proof, sim.entries[index], POLICY)
            async with session.get(f"{url}/leaf") as answer:
                assert await answer.read() == sim.entries[index]
        for wrong in (str(sim.size), "9" * 18, "x", "-1"):
            await text_of(session, f"{explorer.url}decision/{wrong}", 404)


async def test_what_is_known_of_a_decision_is_told(tmp_path: Path) -> None:
    world = governed.World()
    world.producer = logsim.GATEWAY
    index = world.decide(
        "call",
        id_="d-call",
        artifact=governed.artifact(approval=governed.approved(logsim.GATEWAY)),
    )
    outcome = world.outcome("call", "failed")
    revoked = world.revoke(decision="d-call", since=logsim.NOW - 5)
    denied = world.decide(None, allow=False, codes=["policy_mismatch"])
    sim = LogSim()
    sim.append(world.entries())
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        text = await text_of(session, f"{explorer.url}decision/{index}")
        for words in (
            *("spiffe://example.org/agent/sub", "image sha256:", "main</a>, revision 3"),
            *("on the authority of acme, through sub, through orch", "region: eu"),
            *("Approved by carol", "The log has no record of it.", "read", "document 7"),
            *(f'<a href="/decision/{outcome}">failed</a>', f"leaf {revoked}", ": because"),
            *("fails</span> revoked_authorization", "holds</span> runtime_identity_mismatch"),
            *("manifest at leaf 4", "number 0", "Witness w3", 'href="/lineage/call"'),
        ):
            assert words in text, words
        text = await text_of(session, f"{explorer.url}decision/{denied}")
        assert 'href="/find?code=policy_mismatch"' in text
        assert "fails</span> policy_mismatch" in text
        text = await text_of(session, f"{explorer.url}decision/4")
        assert MANIFEST.decode() in text
        assert "Permit</a>" not in text
        # What is downloaded verifies by the same policy, and nothing else.
        async with session.get(f"{explorer.url}decision/{index}/permit") as answer:
            permit = parse_permit(await answer.read())
        assert permit.record == world.records[index]
        async with session.get(f"{explorer.url}decision/{index}/bundle") as answer:
            bundle = parse_bundle(await answer.read())
        verify_bundle(bundle, POLICY)
        assert bundle.execution == "call"
        await text_of(session, f"{explorer.url}decision/{denied}/bundle", 404)
        await text_of(session, f"{explorer.url}decision/4/permit", 404)


async def test_what_is_withheld_and_erased_is_told(tmp_path: Path) -> None:
    sim = LogSim(entries=telling_entries())
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        text = await text_of(session, f"{explorer.url}decision/0")
        assert "/request/context/arguments" in text
        assert '>erased (<a href="/decision/3">leaf 3</a>)' in text
        assert "ada ü\\u202e" in text  # a direction override of a subject's, made visible


async def test_a_wrong_root_in_the_pages_own_file_is_not_believed(tmp_path: Path) -> None:
    sim = LogSim()
    sim.append([decision(number) for number in range(600)])
    async with explored(sim, tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / f"replica{SUFFIX}")) as file, file:
        file.execute("UPDATE bundle SET root = zeroblob(32) WHERE idx = 1")
    async with explored(sim, tmp_path) as explorer, ClientSession() as session:
        async with session.get(f"{explorer.url}decision/7/proof") as answer:
            proof = parse_tlog_proof(await answer.read())
        verify_tlog_proof(proof, sim.entries[7], POLICY)


def proof_of(sim: LogSim, index: int) -> TlogProof:
    plan = plan_inclusion(index, sim.size)
    hashes = {
        node: sim.root_between(node.index << node.level, (node.index + 1) << node.level)
        for node in plan.nodes
    }
    return TlogProof(index, plan.assemble(hashes), parse_signed_checkpoint(sim.checkpoint()))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 700])
def test_the_picture_is_the_path(size: int) -> None:
    random = Random(size)
    sim = LogSim(entries=[b"%d" % number for number in range(size)])
    for index in {0, size - 1, random.randrange(size)}:
        proof = proof_of(sim, index)
        path = steps(proof, sim.entries[index])
        assert path[0].value == leaf_hash(sim.entries[index])
        assert (path[0].first, path[0].end) == (index, index + 1)
        assert (path[-1].first, path[-1].end, path[-1].value) == (0, size, sim.root())
        for step, above in pairwise(path):
            assert step.sibling is not None
            first, end, value = step.sibling
            assert value == sim.root_between(first, end)
            assert step.value == sim.root_between(step.first, step.end)
            pair = (value, step.value) if step.is_left else (step.value, value)
            assert above.value == node_hash(*pair)
            assert (end == step.first) if step.is_left else (first == step.end)
        picture = str(draw(path))
        assert picture.count("<rect") == 2 * len(path) - 1
        assert "style" not in picture
