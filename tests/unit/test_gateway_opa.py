"""What OPA is asked beside the decisions: its modules, once however many decide."""

import asyncio
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import msgspec

from muniment.http.answer import Answer
from muniment.http.client import HttpSession
from muniment.records.canonical import encode_canonical
from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.engines.opa import OpaEngine
from muniment_gateway.engines.port import PassedOn
from waiting import SECONDS, until

REQUEST = {
    "subject": {"type": "agent", "id": "planner"},
    "action": {"name": "call"},
    "resource": {"type": "tool", "id": "search"},
}


class Opa(HttpSession):
    """Allows everything, and lists one module."""

    def __init__(self) -> None:
        super().__init__(headers={})
        self.asked: list[str] = []
        self.revision = "1"
        self.lists = asyncio.Event()
        self.lists.set()

    async def request(
        self,
        method: str,
        url: str,
        *,
        limit: int | None,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        self.asked.append(url)
        await asyncio.sleep(0)
        said: dict[str, Any] = {"result": [{"id": "authz", "raw": self.revision}]}
        if method == "GET":
            await self.lists.wait()
        else:
            bundles = {"main": {"revision": self.revision}}
            said = {"result": True, "provenance": {"bundles": bundles}}
        return Answer(200, {}, msgspec.json.encode(said))


def engine_of(opa: Opa) -> OpaEngine:
    url = "http://127.0.0.1:1/v1/data/authz/allow"
    return OpaEngine(Authority(AuthorityEntry(name="opa", kind="opa", url=url), url=url), opa)


async def test_no_decision_by_known_modules_waits_for_those_that_are_being_read() -> None:
    """As of several OPAs behind one address, of which one has another bundle and hangs."""
    opa = Opa()
    engine = engine_of(opa)
    known = await engine.evaluate(REQUEST, PassedOn({}))
    opa.lists.clear()
    opa.revision = "2"
    hanging = asyncio.create_task(engine.evaluate(REQUEST, PassedOn({})))
    await until(lambda: opa.asked[-1].endswith("/v1/policies") and len(opa.asked) == 4)
    opa.revision = "1"
    async with asyncio.timeout(SECONDS):
        assert (await engine.evaluate(REQUEST, PassedOn({}))).policy == known.policy
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)
    opa.lists.set()
    opa.revision = "2"
    found = await engine.evaluate(REQUEST, PassedOn({}))
    assert found.policy is not None
    assert found.policy.revision == "main=2"


async def test_the_modules_are_read_once_however_many_decide() -> None:
    """They may be tens of megabytes, and the last ones are too old for all at one time."""
    opa = Opa()
    engine = engine_of(opa)
    for revision in ("1", "2"):
        opa.revision = revision
        opa.asked.clear()
        decided = await asyncio.gather(
            *(engine.evaluate(REQUEST, PassedOn({})) for _ in range(5)), engine.policy()
        )
        assert [one.rpartition("/v1/")[2] for one in opa.asked].count("policies") == 1
        digest = sha256(encode_canonical({"authz": revision})).hexdigest()
        policies = [getattr(one, "policy", one) for one in decided]
        assert {(one.revision, one.digest) for one in policies if one is not None} == {
            (f"main={revision}", f"sha256:{digest}")
        }
