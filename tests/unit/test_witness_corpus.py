"""Every endpoint of a witness against the kept corpus: one declared answer, and nothing grows."""

import asyncio
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import witness_corpus
from byzantine import View
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.note import parse_vkey
from muniment.tlog.witnesswire import origin_hash
from muniment_service.http import Request, Response
from muniment_witness.gossip.receive import HEADS_BURST
from muniment_witness.http.openapi import PATHS
from muniment_witness.store.observations import MAX_EVIDENCE, MAX_SUSPICIONS
from rawhttp import Body
from witness_corpus import Case
from witness_network import Network, Node

CASES = witness_corpus.load()
POSTS = [case for case in CASES if case.method == "POST" and "oversized" not in case.name]
DECLARED = {200, 400, 403, 404, 405, 409, 413, 422, 501, 503}


def network(folder: Path) -> tuple[Network, Node]:
    """A witness that knows the log of the corpus, and has nobody to ask."""
    net = Network(folder, View())
    verifier = verifier_for(parse_vkey(witness_corpus.vkey()))
    net.origin, net.verifiers = verifier.vkey.name, (verifier,)
    return net, net.add("w1", None)


async def answer(node: Node, method: str, path: str, body: bytes) -> Response:
    return await node.app.respond(Request(method, path, {}, Body(body)))


def bounded(node: Node) -> None:
    held = node.store.observations
    assert sum(map(len, held.evidence.values())) <= MAX_EVIDENCE
    assert sum(map(len, held.suspicions.values())) <= MAX_SUSPICIONS
    assert node.watch.receiver.waiting <= 2 * HEADS_BURST


@pytest.mark.parametrize("order", ["as-kept", "backwards", "shuffled"])
async def test_the_corpus_is_answered_as_declared(tmp_path: Path, order: str) -> None:
    cases = list(CASES)
    if order == "backwards":
        cases.reverse()
    net, w1 = network(tmp_path)
    async with net:
        await net.start()
        for turn in range(3):
            if order == "shuffled":
                random.Random(turn).shuffle(cases)
            for case in cases:
                response = await answer(w1, case.method, case.path, case.body)
                assert response.status in case.statuses, (case.name, response.body[:200])
            await net.rounds(1)
        bounded(w1)
        assert w1.size in {0, 10, 30}


async def test_the_document_names_every_route(tmp_path: Path) -> None:
    net, w1 = network(tmp_path)
    async with net:
        await net.start()
        below = f"/{origin_hash(net.origin)}/"
        routes = {
            (method.lower(), path.replace(below, "/{origin}/")) for method, path in w1.app.routes
        }
        routed = {(method, path) for method, path in routes if not path.endswith("*")}
        prefixes = {path[:-1] for _, path in routes - routed}
        documented = {(method, path) for path, item in PATHS.items() for method in item}
        open_ended = {(m, p) for m, p in documented if (m, p) not in routed}
        assert routed <= documented
        assert {p[: p.index("/", 1) + 1] for _, p in open_ended if p.startswith("/{")} | {
            p[: p.rindex("{")] for _, p in open_ended if not p.startswith("/{")
        } == prefixes
        shown = await answer(w1, "GET", "/openapi.json", b"")
        assert json.loads(shown.body)["paths"].keys() == PATHS.keys()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    mutations=st.lists(
        st.tuples(
            st.sampled_from(POSTS),
            st.sampled_from(POSTS),
            st.integers(0, 3000),
            st.integers(0, 3000),
            st.binary(max_size=8),
        ),
        min_size=4,
        max_size=12,
    ),
    path=st.text(st.characters(codec="latin-1"), max_size=30),
)
def test_mutated_and_spliced_requests_are_answered(
    tmp_path_factory: pytest.TempPathFactory,
    mutations: list[tuple[Case, Case, int, int, bytes]],
    path: str,
) -> None:
    """The beginning of one body, some bytes, and the end of another: one declared answer."""

    async def ask() -> None:
        net, w1 = network(tmp_path_factory.mktemp("w"))
        async with net:
            await net.start()
            for one, other, start, end, data in mutations:
                body = one.body[:start] + data + other.body[end:]
                for case in (one, other):
                    response = await answer(w1, "POST", case.path, body)
                    assert response.status in DECLARED, response.body
            for case in CASES[:: len(CASES) // 5]:
                response = await answer(w1, "GET", case.path + path, b"")
                assert response.status in DECLARED, response.body
            bounded(w1)

    asyncio.run(ask())
