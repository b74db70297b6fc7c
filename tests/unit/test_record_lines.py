"""A record in one line: of a refusal the codes, and no gaps where nothing could be read."""

import json

import click
import pytest

import logsim
from muniment.cli.recordlines import record_line
from muniment.records.canonical import encode_canonical
from muniment.records.codec import parse_record
from muniment.records.kinds import Denial, Outcome
from muniment.records.members import DenialCode

AWAY: tuple[DenialCode, ...] = ("governance_mesh_discontinuity",)


@pytest.mark.parametrize(("codes", "end"), [(AWAY, f" ({AWAY[0]})"), ((), "")])
def test_who_was_denied_for_want_of_a_log_does_not_look_denied_by_policy(
    codes: tuple[DenialCode, ...], end: str
) -> None:
    members = json.loads(logsim.decision(1, decision=False))
    if codes:
        members["denial"] = {"codes": codes}
    line = record_line(7, parse_record(encode_canonical(members)))
    assert line.endswith(f"agent agent-1 call tool tool-1{end}")


def test_a_request_that_could_not_be_read_has_no_gaps() -> None:
    nobody = {"type": "", "id": ""}
    members = json.loads(logsim.decision(1, decision=False)) | {"execution": "e-1"}
    members["request"] = {"subject": nobody, "action": {"name": ""}, "resource": nobody}
    members["denial"] = {"codes": ["could_not_evaluate"]}
    line = record_line(7, parse_record(encode_canonical(members)))
    assert line.endswith(" what cannot be read, run e-1 (could_not_evaluate)")


def test_an_outcome_says_why_it_did_not_run() -> None:
    outcome = Outcome(
        v=1, id="o", time=logsim.NOW * 1000, producer=logsim.GATEWAY, execution="run-1",
        status="aborted", denial=Denial(codes=AWAY),
    )  # fmt: skip
    line = click.unstyle(record_line(8, outcome))
    assert line.endswith(f"aborted run run-1 ({AWAY[0]})")
