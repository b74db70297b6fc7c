"""The real Cerbos as the PDP behind a gateway: its decisions, its batches, and its policies."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import foreign
import gateway_service
import processes
from gateway_service import Service, evaluation
from log_deployment import Deployment, ask, run
from muniment.permit.permitfile import parse_permit
from waiting import eventually

POLICY = """\
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: record
  version: default
  rules:
    - actions: ["read"]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition: {match: {expr: 'P.id in ["alice", "bob"]'}}
    - actions: ["write"]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition:
        match:
          any:
            of:
              - expr: 'P.id == "alice" && !(has(R.attr.status) && R.attr.status == "archived")'
              - expr: 'has(P.attr.role) && P.attr.role == "admin"'
"""
"""Rules 1 to 6 of the AuthZEN certification scenario."""


@dataclass
class Pair:
    """A gateway, and the policies and the URL of the Cerbos behind it."""

    service: Service
    policies: Path
    url: str


@pytest.fixture(scope="module")
def pair(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("cerbos")
    policies = folder / "policies"
    policies.mkdir()
    (policies / "record.yaml").write_text(POLICY)
    with foreign.cerbos(policies, folder / "cerbos.yaml") as url:
        login = folder / "gateway" / "cerbos.login"
        tables = (
            f'[[authority]]\nname = "cerbos"\nkind = "cerbos"\nurl = "{url}"\n'
            'admin_file = "cerbos.login"\ndeadline_seconds = 5.0\n'
        )
        service = gateway_service.made(
            deployment, folder / "gateway", tables, name="gw.example/cerbos"
        )
        login.write_text(f"{foreign.CERBOS_LOGIN}\n")
        login.chmod(0o600)
        with service.running():
            yield Pair(service, policies, url)


RECORD = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}
RULES = [
    (evaluation(), True),
    (evaluation("bob"), True),
    (evaluation("alice", "write"), True),
    (evaluation("bob", "write"), False),
    ({**evaluation("alice", "write"), "resource": RECORD}, False),
    (
        {
            "subject": {"type": "user", "id": "bob", "properties": {"role": "admin"}},
            "action": {"name": "write"},
            "resource": RECORD,
        },
        True,
    ),
]


def test_cerbos_decides_as_the_certification_scenario_wants(pair: Pair) -> None:
    service = pair.service
    for request, decision in RULES:
        assert service.evaluate(request)["decision"] is decision, request
    # What Cerbos refuses, AuthZEN wants ignored; the record has all of it.
    strange = evaluation(future={"nested": True}, context={"time": "2025-06-27T18:03-07:00"})
    strange["subject"]["tenant"] = "t1"
    answer = service.evaluate(strange)
    assert answer["decision"] is True
    assert service.record(answer["context"]["muniment"]["index"]).request == strange
    answered = service.post("/access/v1/evaluation", evaluation(), {"X-Request-ID": "r-1"})
    assert answered.headers["X-Request-ID"] == "r-1"


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [
        ("execute_all", [True, False, True, False]),
        ("deny_on_first_deny", [True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_only_what_is_answered_of_a_batch_is_decided_and_logged(
    pair: Pair, semantic: str, decisions: list[bool]
) -> None:
    asked = {
        "resource": {"type": "record", "id": f"of {semantic}"},
        "evaluations": [
            {"subject": {"type": "user", "id": who}, "action": {"name": name}}
            for who, name in (("bob", "read"), ("bob", "write"), ("alice", "write"), ("x", "read"))
        ],
        "options": {"evaluations_semantic": semantic},
    }
    answer = pair.service.post("/access/v1/evaluations", asked).json
    assert [one["decision"] for one in answer["evaluations"]] == decisions

    def logged() -> list[bool]:
        return [
            one.response["decision"]
            for one in pair.service.logged()
            if one.request["resource"]["id"] == f"of {semantic}"
        ]

    eventually(lambda: len(logged()) >= len(decisions))
    assert sorted(logged()) == sorted(decisions)


def test_the_policies_are_in_the_artifact_and_a_change_of_them_on_record(pair: Pair) -> None:
    service = pair.service

    def policy() -> Any:
        permit = parse_permit(
            service.evaluate(evaluation())["context"]["muniment"]["permit"].encode()
        )
        return permit.decision.artifact.policy

    before = policy()
    assert before.id == "cerbos:disk"
    assert before.revision == before.digest.removeprefix("sha256:")[:12]
    doctor = processes.run(processes.muniment_gateway("doctor", "--config", service.config))
    [line] = [one for one in doctor.stdout.splitlines() if "authority cerbos" in one]
    assert line.startswith("ok ")
    assert before.revision in line

    (pair.policies / "later.yaml").write_text(POLICY.replace("record", "ledger"))
    login = base64.b64encode(foreign.CERBOS_LOGIN.encode()).decode()
    reload_url = f"{pair.url}/admin/store/reload?wait=true"
    assert ask(reload_url, headers={"Authorization": f"Basic {login}"}).status == 200
    run(processes.muniment_gateway("reload", "--config", service.config))
    after = policy()
    assert after.id == before.id
    assert after.digest != before.digest
    changes = [
        json.loads(one.request["context"]["now"])
        for one in service.logged()
        if one.request["action"]["name"] == "muniment.change"
        and one.request["resource"]["id"].startswith("cerbos@")
    ]
    assert [one["digest"] for one in changes] == [before.digest, after.digest]


def test_numbers_that_cerbos_would_round_are_denied_before_it_is_asked(pair: Pair) -> None:
    strange = evaluation()
    strange["resource"]["properties"] = {"size": 2**53 + 1}
    answer = pair.service.evaluate(strange)
    assert answer["decision"] is False
    assert answer["context"]["muniment"]["codes"] == ["authorization_discontinuity"]


def test_cerbos_has_no_search_and_the_metadata_say_so(pair: Pair) -> None:
    told = ask(f"{pair.service.url}/.well-known/authzen-configuration").json
    assert told["policy_decision_point"] == pair.service.url
    assert [name for name in told if name.startswith("search_")] == []
