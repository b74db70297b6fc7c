"""``verify``, ``permit verify`` and ``lineage`` with addenda: disclosed, withheld, erased."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import logsim
from commands import online
from logsim import GATEWAY_SIGNER, NOW, ORIGIN, POLICY, POLICY_TEXT, LogSim
from muniment import Erasure, encode_record
from muniment.gateway.gateway import Gateway
from muniment.index.replica import Watched, follow_once
from muniment.records.commitments import addendum
from muniment.records.kinds import Decision

CONTEXT = "/request/context"
PROPERTIES = "/request/subject/properties"


@dataclass
class Place:
    """A simulated log with one decision that withholds two members, its proof, and a replica."""

    folder: Path
    sim: LogSim
    url: str
    names: dict[str, str]
    """The digest of each member."""

    @property
    def policy(self) -> tuple[str, str]:
        return "--policy", str(self.folder / "trust.policy")

    @property
    def replica(self) -> tuple[str, str]:
        return "--replica", str(self.folder / "replica.db")

    @property
    def proof(self) -> tuple[str, ...]:
        paths = str(self.folder / "call.permit"), str(self.folder / "call.json")
        return "verify", paths[0], "--entry", paths[1], *self.policy

    @property
    def permit(self) -> tuple[str, ...]:
        context = self.folder / "context.json"
        context.write_text(
            json.dumps({"action": "send", "resource": {"type": "tool", "id": "mail"}})
        )
        path = str(self.folder / "call.permit")
        waived = ("--without-facts", "--allow-unbound", "--allow-any-policy")
        return "permit", "verify", path, *self.policy, "--context", str(context), *waived

    def file(self, member: str) -> str:
        path = self.folder / "one.addendum"
        path.write_bytes(self.sim.addenda[self.names[member]])
        return str(path)

    def other(self) -> str:
        path = self.folder / "other.addendum"
        path.write_bytes(addendum("0" * 32, "of something else"))
        return str(path)

    async def erase(self, member: str, producer: str = ORIGIN) -> int:
        erasure = Erasure(
            v=1, id=f"e-{self.sim.size}", time=NOW * 1000, producer=producer,
            digests=(self.names[member],), by="the operator",
        )  # fmt: skip
        self.sim.append_token([encode_record(erasure)], producer)
        await self.follow()
        return self.sim.size - 2

    async def follow(self) -> None:
        path = Path(self.replica[1])
        watched = Watched(self.url, POLICY)
        await follow_once(watched, path, progress=lambda _done, _total: None)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    sim = LogSim()
    (tmp_path / "trust.policy").write_text(POLICY_TEXT)
    request: dict[str, Any] = {
        "subject": {"type": "agent", "id": "mailer", "properties": {"name": "Ada"}},
        "action": {"name": "send"},
        "resource": {"type": "tool", "id": "mail"},
        "context": {"to": "ada@mail.example"},
    }
    decision = {
        "kind": "decision",
        "request": request,
        "response": {"decision": True},
        "execution": "call",
    }
    async with (
        sim.serve() as url,
        Gateway(
            url, GATEWAY_SIGNER, policy=POLICY, withhold=[CONTEXT, PROPERTIES], keep="log"
        ) as gateway,
    ):
        permit = await gateway.authorize(decision)
        (tmp_path / "call.permit").write_bytes(permit.encode())
        (tmp_path / "call.json").write_bytes(permit.entry)
        assert isinstance(permit.record, Decision)
        found = Place(tmp_path, sim, url, dict(permit.record.addenda or {}))
        await found.follow()
        yield found


async def test_a_proof_shows_what_is_disclosed_withheld_and_erased(place: Place) -> None:
    shown = (await online(*place.proof)).stdout
    assert f"  withheld   {CONTEXT}" in shown
    assert f"  withheld   {PROPERTIES}" in shown
    one = ("--addendum", place.file(CONTEXT))
    by = await place.erase(PROPERTIES)
    shown = (await online(*place.proof, *one, *place.replica)).stdout
    assert f"  disclosed  {CONTEXT}" in shown
    assert f"  erased     {PROPERTIES} (by leaf {by})" in shown
    told = json.loads((await online(*place.proof, *one, *place.replica, "--json")).stdout)
    assert told["addenda"] == {"disclosed": [CONTEXT], "withheld": [], "erased": {PROPERTIES: by}}
    shown = (await online(*place.proof, "--addendum", place.other(), code=4)).stderr
    assert "addendum 0: the record names none with" in shown


async def test_a_stranger_erases_nothing(place: Place) -> None:
    await place.erase(PROPERTIES, "other.example/gw")
    told = json.loads((await online(*place.proof, *place.replica, "--json")).stdout)
    assert told["addenda"]["erased"] == {}
    assert sorted(told["addenda"]["withheld"]) == [CONTEXT, PROPERTIES]


async def test_a_folder_gives_what_the_record_names(place: Place) -> None:
    folder = place.folder / "held"
    digest = place.names[CONTEXT]
    where = folder / "addenda" / digest[:2] / digest[2:4]
    where.mkdir(parents=True)
    (where / digest).write_bytes(place.sim.addenda[digest])
    (folder / "some name").write_bytes(place.sim.addenda[place.names[PROPERTIES]])
    (folder / "unrelated").write_bytes(b"of another record")
    shown = (await online(*place.proof, "--addenda", str(folder))).stdout
    assert shown.count("  disclosed  ") == 2
    (where / digest).write_bytes(b"forged")
    shown = (await online(*place.proof, "--addenda", str(folder), code=7)).stderr
    assert "not the addendum that its name says" in shown
    await online(*place.proof, "--addenda", str(folder / "none"), code=7)


async def test_a_leaf_that_names_none_shows_none(place: Place) -> None:
    bare = place.sim.entries[0].replace(b"addenda", b"bddenda")
    assert sha256(bare).digest() != sha256(place.sim.entries[0]).digest()
    (place.folder / "call.json").write_bytes(bare)
    await online(*place.proof, "--addendum", place.other(), code=4)


async def test_a_permit_is_verified_with_addenda_beside_it(place: Place) -> None:
    shown = (await online(*place.permit, "--json", code=4)).stdout
    assert sorted(json.loads(shown)["addenda"]["withheld"]) == [CONTEXT, PROPERTIES]
    one = ("--addendum", place.file(CONTEXT))
    shown = (await online(*place.permit, *one, code=4)).stdout
    assert f"  disclosed  {CONTEXT}" in shown
    assert f"  withheld   {PROPERTIES}" in shown
    shown = (await online(*place.permit, "--addendum", place.other(), code=4)).stderr
    assert "not verified: permit: addendum 0" in shown
    (place.folder / "call.permit").write_bytes(b"nothing")
    assert "DENIED" in (await online(*place.permit, *one, code=4)).stdout


async def test_a_bundle_takes_addenda_and_erasures_along(place: Place) -> None:
    path = place.folder / "call.lineage"
    bundle = str(path)
    trace = ("lineage", "trace", "call", *place.replica)
    by = await place.erase(PROPERTIES)
    one = ("--addendum", place.file(CONTEXT))
    shown = await online(*trace, *one, "--bundle", bundle)
    assert f"  disclosed  {CONTEXT}" in shown.stdout
    verify = ("lineage", "verify", bundle, *place.policy)
    shown = await online(*verify)
    assert f"  disclosed  {CONTEXT}" in shown.stdout
    assert f"  erased     {PROPERTIES} (by leaf {by})" in shown.stdout
    told = json.loads((await online(*verify, "--json")).stdout)
    assert told["addenda"] == [
        {"index": 0, "disclosed": [CONTEXT], "withheld": [], "erased": {PROPERTIES: by}}
    ]
    shown = await online(*verify, "--addendum", place.other(), code=4)
    assert "no record of the trace names" in shown.stderr
    # Without addenda a bundle is what it was; they can come beside it.
    await online(*trace, "--bundle", bundle)
    assert b"addenda 1" not in path.read_bytes()
    assert f"  disclosed  {CONTEXT}" in (await online(*verify, *one)).stdout
    dot = await online(*verify, *one, "--format", "dot")
    assert "disclosed" not in dot.stdout
    assert "disclosed" in dot.stderr
    assert logsim.ORIGIN in dot.stderr
