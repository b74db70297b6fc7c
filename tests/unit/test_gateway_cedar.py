"""Cedar policies in files that change while the gateway runs."""

from math import inf
from pathlib import Path

import pytest

from muniment_gateway.authorities import Authority, AuthorityEntry
from muniment_gateway.engines import cedar
from muniment_gateway.engines.cedar import CedarEngine
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
    file.unlink()
    await refused("authz.cedar: No such file")
    file.write_text(GOOD)
    assert (await engine.evaluate(REQUEST, PassedOn({}))).response["decision"] is True
