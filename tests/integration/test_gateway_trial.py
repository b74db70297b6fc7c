"""A trial as docs/adopt.md has it: nothing is denied, and what would have been is on record."""

from pathlib import Path

import pytest

import gateway_service
from gateway_service import evaluation
from log_deployment import Deployment
from muniment.records.kinds import Decision
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

TABLES = """\
[[authority]]
name = "cedar"
kind = "cedar"
policies = ["authz.cedar"]
deadline_seconds = 60.0

[[authority]]
name = "trial"
kind = "cedar"
policies = ["allow.cedar"]
deadline_seconds = 60.0

"""


def test_an_authority_that_allows_everything_lets_pass_what_another_one_is_heard_to_deny(
    deployment: Deployment, tmp_path: Path
) -> None:
    top = 'quorum = "any"\ngrace_seconds = 60.0\n'
    service = gateway_service.made(deployment, tmp_path / "gateway", TABLES, top)
    (service.folder / "allow.cedar").write_text("permit(principal, action, resource);\n")
    text = service.config.read_text()
    service.config.write_text(text.replace('mode = "enforce"', 'mode = "observe"'))
    with service.running():
        answer = service.evaluate(evaluation("bob", "write"))
        assert answer["decision"] is True
        id_ = answer["context"]["muniment"]["evaluation_id"]

        def logged() -> list[Decision]:
            return [one for one in service.logged() if one.id == id_]

        eventually(lambda: bool(logged()))
    [decision] = logged()
    answers = decision.response["context"]["muniment"]["answers"]
    assert {one["authority"]: one["decision"] for one in answers} == {
        "cedar": False,
        "trial": True,
    }
