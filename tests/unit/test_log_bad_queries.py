"""A malformed query is a 400, also of a log that has nothing to answer a good one with."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from muniment_gateway.http import openapi as gateway_document
from muniment_log.errors import IndexUnavailableError
from muniment_log.http import openapi as log_document
from muniment_log.http.api import build
from muniment_log.index.supervisor import LogIndex
from muniment_service.http import Request
from muniment_service.metrics import Metrics
from muniment_witness.http import openapi as witness_document

# By path of the document, or where its parameters stand: what is right, and what is not.
QUERIES = {
    "/checkpoint.mirrored": ("size=5&timeout=0", ["size=x", "timeout=61", "size=1&size=1", "a="]),
    "/v1/batches": ("wait=published", ["wait=x", "timeout=1", "wait=published&timeout=x", "a="]),
    "/v1/records": ("wait=published", ["wait=x", "timeout=1", "wait=published&timeout=x", "a="]),
    "/v1/decisions": ("limit=5", ["subject=x", "since=x", "until=-1", "after=01", "limit=0", "a="]),
    "/v1/decisions/x": ("limit=5", ["after=x", "limit=1e9", "a="]),
    "/v1/executions/x": ("limit=5", ["after=x", "limit=1e9", "a="]),
    "/v1/lineage/run/x": (
        "page=5.1&limit=5",
        ["direction=x", "depth=0", "limit=x", "page=x", "page=0.0", "page=01.1", "page=1.x", "a="],
    ),
    "/v1/index/proof": (
        "key=execution%20a&size=7",
        [
            *("", "key=x", "key=execution", "key=execution%20a&size=2.5e-173", "a="),
            *("key=execution%20a&limit=0", "key=execution%20a&records=2"),
            "&".join(["key=execution%20a"] * 1025),
        ],
    ),
    "/v1/proofs/inclusion": ("index=1", ["", "index=x", "index=1&size=x", "index=5&size=5", "a="]),
    "/v1/proofs/consistency": ("from=1&to=2", ["", "from=1", "from=1&to=x", "from=2&to=1", "a="]),
}


class NoIndex:
    async def ask(self, question: object) -> Any:
        raise IndexUnavailableError("it is being built")


class Nothing:
    """Publishes nothing; all else of a log that these requests get to."""

    published = None

    async def settled(self) -> None:
        pass


def log_of_nothing() -> Any:
    access = SimpleNamespace(
        reading=lambda handler: handler,
        reading_tiles=lambda handler: handler,
        reading_addenda=lambda handler: handler,
        admission=SimpleNamespace(origin="log.example/a"),
    )
    nothing = cast(Any, Nothing())
    return build(
        access=cast(Any, access),
        budgets=nothing,
        sequencer=nothing,
        publisher=nothing,
        tiles=nothing,
        addenda=nothing,
        metrics=Metrics("m"),
        index=LogIndex(nothing, cast(Any, NoIndex())),
    )


async def status(method: str, path: str, query: str) -> int:
    request = Request(method, f"{path}?{query}", {}, cast(Any, None))
    return int((await log_of_nothing().respond(request)).status)


@pytest.mark.parametrize("path", QUERIES)
async def test_what_is_malformed_is_so_whatever_the_log_has(path: str) -> None:
    method = "POST" if path in {"/v1/batches", "/v1/records"} else "GET"
    good, bad = QUERIES[path]
    assert {query: await status(method, path, query) for query in bad} == dict.fromkeys(bad, 400)
    # There is nothing yet, or no index: what is well-formed gets further.
    if method == "GET":
        assert await status(method, path, good) in {404, 503}


def test_these_are_all_calls_with_a_query() -> None:
    taking = {
        path.replace("{type}", "run").replace("{id}", "x")
        for path, item in log_document.PATHS.items()
        for call in item.values()
        if any(one["in"] == "query" for one in call.get("parameters", ()))
    }
    assert taking == set(QUERIES)


@pytest.mark.parametrize("document", [log_document, gateway_document, witness_document])
def test_what_takes_parameters_says_that_they_can_be_too_long(document: Any) -> None:
    calls = [call for item in document.PATHS.values() for call in item.values()]
    takes = [call["operationId"] for call in calls if call.get("parameters")]
    assert takes == [call["operationId"] for call in calls if "431" in call["responses"]]
