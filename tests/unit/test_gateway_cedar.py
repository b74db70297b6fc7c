"""Cedar policies in files that change while the gateway runs."""

import asyncio
import os
from collections.abc import Sequence
from math import inf
from pathlib import Path

import pytest

from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.engines import cedar
from muniment_gateway.engines.cedar import CedarEngine
from muniment_gateway.engines.policyfiles import read_files
from muniment_gateway.engines.port import NoAnswerError, PassedOn, UnfitError

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

GOOD = "permit(principal, action, resource);"
REQUEST = {
    "subject": {"type": "agent", "id": "planner"},
    "action": {"name": "call"},
    "resource": {"type": "tool", "id": "search"},
}


async def test_policies_that_do_not_parse_are_no_answer_and_no_other_policies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor by those that the file had before, and it is trouble of the engine, not the request's."""
    file = tmp_path / "authz.cedar"
    engine = CedarEngine(Authority(AuthorityEntry(name="c", kind="cedar", policies=(file,))))

    async def refused(words: str) -> None:
        for ask in (engine.policy(), engine.evaluate(REQUEST, PassedOn({}))):
            with pytest.raises(NoAnswerError, match=words) as found:
                await ask
            assert not isinstance(found.value, UnfitError)

    monkeypatch.setattr(cedar, "_LOOK_AGAIN", 0.0)
    file.write_text(GOOD)
    assert (await engine.evaluate(REQUEST, PassedOn({}))).response["decision"] is True
    file.write_text(GOOD.replace(", ", " "))
    await refused("c: the policies do not parse: ")
    monkeypatch.setattr(cedar, "_LOOK_AGAIN", inf)
    await refused("c: the policies do not parse: ")
    monkeypatch.setattr(cedar, "_LOOK_AGAIN", 0.0)
    file.unlink()
    await refused("authz.cedar: No such file")
    file.write_text(GOOD)
    assert (await engine.evaluate(REQUEST, PassedOn({}))).response["decision"] is True


@pytest.mark.parametrize("text", [GOOD, GOOD.replace(", ", " ")], ids=["good", "broken"])
async def test_files_are_read_once_however_many_ask(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each request reads and parses a broken one, for as long as it stays so."""
    file = tmp_path / "authz.cedar"
    engine = CedarEngine(Authority(AuthorityEntry(name="c", kind="cedar", policies=(file,))))
    read: list[Sequence[Path]] = []

    def reading(paths: Sequence[Path]) -> list[bytes]:
        read.append(paths)
        return read_files(paths)

    async def ask() -> tuple[object, ...]:
        asked = (engine.evaluate(REQUEST, PassedOn({})) for _ in range(3))
        found = await asyncio.gather(engine.policy(), *asked, return_exceptions=True)
        return tuple(str(one) for one in found)

    monkeypatch.setattr(cedar, "_LOOK_AGAIN", 0.0)
    monkeypatch.setattr(cedar, "read_files", reading)
    file.write_text(text)
    assert await ask() == await ask()
    assert len(read) == 1
    file.write_text(f"{text}\n")
    await ask()
    assert len(read) == 2


@pytest.mark.parametrize("replaced", [True, False], ids=["by another file", "within the file"])
async def test_policies_of_the_same_size_and_time_are_others(
    replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of images and deployments that give all files one time."""
    monkeypatch.setattr(cedar, "_LOOK_AGAIN", 0.0)
    file, other = tmp_path / "authz.cedar", tmp_path / "other.cedar"
    engine = CedarEngine(Authority(AuthorityEntry(name="c", kind="cedar", policies=(file,))))
    file.write_text(GOOD)
    os.utime(file, (1, 1))
    before = await engine.evaluate(REQUEST, PassedOn({}))
    other.touch()
    while other.stat().st_ctime_ns == file.stat().st_ctime_ns:  # of the file system's clock
        other.touch()
    written = other if replaced else file
    written.write_text(GOOD.replace("permit", "forbid"))
    os.utime(written, (1, 1))
    if replaced:
        other.rename(file)
    after = await engine.evaluate(REQUEST, PassedOn({}))
    assert (before.response["decision"], after.response["decision"]) == (True, False)
