"""Several policy engines behind one gateway: OPA, Cedar, programs, and authorities that sign."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import foreign
import gateway_service
import processes
from gateway_service import Service, codes, evaluation
from log_deployment import Deployment, run
from muniment.permit import Context, ExpectedPolicy, Permit, Trust, verify_permit
from muniment.permit.permitfile import parse_permit
from muniment.records.kinds import Entity
from muniment.tlog.note import ED25519, VKey, parse_vkey
from waiting import eventually

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

REGO = """\
package authz

default decision := {"decision": false}

decision := {"decision": true, "context": {"rule": "readers", "at": time.now_ns()}} if {
  input.action.name in {"read", "write"}
}

strange := 1
"""

PROGRAM = """\
import json, sys, time
request = json.load(sys.stdin)
name = request["action"]["name"]
if name == "sleep": time.sleep(3600)
if name == "crash": sys.exit("no reason at all")
print(json.dumps({"decision": name == "read", "context": {"program": True}}))
"""


def command(folder: Path) -> str:
    program = folder / "decide.py"
    program.write_text(PROGRAM)
    argv = json.dumps([sys.executable, "-I", str(program)])
    return (
        f'[[authority]]\nname = "program"\nkind = "command"\ncommand = {argv}\n'
        "deadline_seconds = 5.0\n"
        f'[authority.policy]\nid = "decide.py"\nfiles = ["decide.py"]\n'
    )


CEDAR = '[[authority]]\nname = "cedar"\nkind = "cedar"\npolicies = ["authz.cedar"]\n'


def read(path: Path) -> bytes:
    """A file that may be gone by now, or nothing."""
    with suppress(OSError):
        return path.read_bytes()
    return b""


@pytest.fixture(scope="module")
def pair(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Cedar and a program, who both have to allow."""
    folder = tmp_path_factory.mktemp("pair")
    service = gateway_service.made(
        deployment, folder, CEDAR + command(folder), name="gw.example/pair"
    )
    with service.running():
        yield service


def test_all_answers_are_in_the_record_of_an_allow(pair: Service) -> None:
    answer = pair.evaluate(evaluation())
    assert answer["decision"] is True
    record = pair.record(answer["context"]["muniment"]["index"])
    told = record.response["context"]["muniment"]
    assert [one["authority"] for one in told["answers"]] == ["cedar", "program"]
    assert [one["decision"] for one in told["answers"]] == [True, True]
    assert told["answers"][1]["response"] == {"context": {"program": True}}
    assert told["quorum"] == "2 of 2"
    assert record.artifact.policy.id == "quorum:cedar,program"


def test_disagreement_below_the_quorum_is_a_mismatch(pair: Service) -> None:
    answer = pair.evaluate(evaluation("alice", "write"))  # the program denies
    assert codes(answer) == ["policy_mismatch"]
    record = pair.record(answer["context"]["muniment"]["index"])
    assert record.denial.codes == ("policy_mismatch",)
    told = record.response["context"]["muniment"]["answers"]
    assert [one["decision"] for one in told] == [True, False]


def test_a_program_that_fails_has_not_answered(pair: Service) -> None:
    answer = pair.evaluate(evaluation("alice", "crash"))
    assert codes(answer) == ["denied_by_policy", "could_not_evaluate"]
    record = pair.record(answer["context"]["muniment"]["index"])
    told = record.response["context"]["muniment"]["answers"]
    assert told[1]["error"] == "program: exit code 1: no reason at all"


def test_a_program_that_is_late_has_not_answered_and_is_ended(pair: Service) -> None:
    assert "could_not_evaluate" in codes(pair.evaluate(evaluation("alice", "sleep")))
    program = str(pair.folder / "decide.py").encode()

    def runs() -> bool:
        return any(program in read(one) for one in Path("/proc").glob("[0-9]*/cmdline"))

    eventually(lambda: not runs())


def test_a_change_of_policy_is_on_record_before_it_decides(pair: Service) -> None:
    indices: list[int] = []
    policies: list[dict[str, str]] = []

    def is_other() -> bool:
        indices.append(pair.evaluate(evaluation())["context"]["muniment"]["index"])
        told = pair.record(indices[-1]).response["context"]["muniment"]["answers"][0]
        policies.append(told["policy"])
        return policies[-1] != policies[0]

    assert not is_other()
    file = pair.folder / "authz.cedar"
    file.write_text(file.read_text() + "// changed\n")
    eventually(is_other)
    told = policies[-1]
    records = [pair.any_record(index) for index in range(indices[-2] + 1, indices[-1])]
    [change] = [one for one in records if one.get("request", {}).get("action", {}).get("name")]
    assert change["request"]["action"]["name"] == "muniment.change"
    assert change["request"]["resource"] == {
        "type": "muniment.policy",
        "id": f"cedar@{told['digest']}",
    }
    [edge] = [one for one in records if one.get("relation") == "derived_from"]
    assert edge["from"]["id"] == f"cedar@{told['digest']}"


@dataclass
class Signed:
    service: Service
    keys: list[VKey]
    authorities: list[processes.Process]


@pytest.fixture(scope="module")
def signed(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    """Three authorities with keys of their own, of which two have to allow."""
    folder = tmp_path_factory.mktemp("signed")
    running, keys, tables = [], [], ""
    for number in range(3):
        home = folder / f"authority{number}"
        policies = folder / "fixture.cedar"
        policies.write_text(gateway_service.FIXTURE)
        [vkey] = run(
            processes.muniment_gateway(
                "authority", "init", home, "--name", f"pdp.example/{number}",
                "--listen", "127.0.0.1:0", "--cedar", policies,
            )
        )  # fmt: skip
        process = processes.start(
            processes.muniment_gateway("authority", "serve", "--config", home / "authority.toml")
        )
        running.append(process)
        keys.append(parse_vkey(vkey))
        tables += (
            f'[[authority]]\nname = "pdp.example/{number}"\nkind = "authzen"\n'
            f'url = "{process.url}"\nvkey = "{vkey}"\n'
        )
    service = gateway_service.made(
        deployment, folder / "gateway", tables, top="quorum = 2\n", name="gw.example/signed"
    )
    with service.running():
        yield Signed(service, keys, running)
    for process in running:
        process.kill()


def judged(permit: Permit, deployment: Deployment, keys: list[VKey], signatures: int) -> list[str]:
    """The codes by which a runtime denies a permit that needs so many of these signatures."""
    decision = permit.decision
    trust = Trust(
        policy=deployment.policy,
        authorities=tuple(keys),
        signatures=signatures,
        require_binding=False,
        require_facts=False,
    )
    context = Context(
        now=int(time.time()),
        action="read",
        resource=Entity("record", "record-1"),
        execution=decision.execution,
        policy=ExpectedPolicy(id=decision.artifact.policy.id),
    )
    return list(verify_permit(permit, context, trust).codes)


def permit_of(answer: dict[str, Any]) -> Permit:
    return parse_permit(answer["context"]["muniment"]["permit"].encode())


def test_a_permit_carries_the_signatures_that_a_runtime_demands(signed: Signed) -> None:
    permit = permit_of(signed.service.evaluate(evaluation()))
    assert permit.decision.signatures is not None
    assert len(permit.decision.signatures) == 3
    assert judged(permit, signed.service.deployment, signed.keys, 3) == []
    unknown = [VKey.of("pdp.example/other", ED25519, bytes(32))]
    assert judged(permit, signed.service.deployment, unknown, 1) == ["invalid_signature"]


def test_with_one_authority_gone_two_of_three_still_sign(signed: Signed) -> None:
    signed.authorities[0].kill()
    permit = permit_of(signed.service.evaluate(evaluation()))
    assert len(permit.decision.signatures or ()) == 2
    assert judged(permit, signed.service.deployment, signed.keys, 2) == []
    assert judged(permit, signed.service.deployment, signed.keys, 3) == ["invalid_signature"]
    signed.authorities[1].kill()
    assert codes(signed.service.evaluate(evaluation())) == ["could_not_evaluate"]


def test_opa_decides_and_its_policy_is_named(deployment: Deployment, tmp_path: Path) -> None:
    policy = tmp_path / "authz.rego"
    policy.write_text(REGO)
    with foreign.opa(policy, log=tmp_path / "opa.log") as url:
        tables = "".join(
            f'[[authority]]\nname = "{name}"\nkind = "opa"\nurl = "{url}/v1/data/authz/{rule}"\n'
            f'decision = "{pointer}"\n'
            for name, rule, pointer in (("opa", "decision", "/decision"),)
        )
        service = gateway_service.made(
            deployment, tmp_path / "gateway", tables, name="gw.example/opa"
        )
        with service.running():
            answer = service.evaluate(evaluation())
            assert answer["decision"] is True
            assert answer["context"]["rule"] == "readers"
            assert answer["context"]["at"] > 2**53  # passed on; no record can hold it
            record = service.record(answer["context"]["muniment"]["index"])
            assert "left_out" in record.response["context"]
            before = record.artifact.policy
            assert before.id == "authz/decision"
            assert codes(service.evaluate(evaluation("alice", "delete"))) == ["denied_by_policy"]
            text = service.config.read_text()
            service.config.write_text(text.replace("authz/decision", "authz/strange"))
            run(processes.muniment_gateway("reload", "--config", service.config))
            assert codes(service.evaluate(evaluation())) == ["could_not_evaluate"]
            service.config.write_text(text.replace("authz/decision", "authz/absent"))
            run(processes.muniment_gateway("reload", "--config", service.config))
            assert codes(service.evaluate(evaluation())) == ["could_not_evaluate"]


def test_a_change_of_mode_is_on_record_and_observing_denies_nothing_for_the_log(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/mode")
    with service.running():
        first = service.evaluate(evaluation())["context"]["muniment"]["index"]
        text = service.config.read_text()
        service.config.write_text(text.replace('mode = "enforce"', 'mode = "observe"'))
        run(processes.muniment_gateway("reload", "--config", service.config))
        change = service.record(first + 2)  # a manifest is between them
        assert (change.action, *change.resource) == ("muniment.change", "muniment.mode", "observe")
        assert change.request["context"]["before"] == "enforce"
        answer = service.evaluate(evaluation())
        own = answer["context"]["muniment"]
        assert (answer["decision"], own["mode"]) == (True, "observe")
        assert "permit" not in own

        def is_logged() -> bool:
            return own["evaluation_id"] in {one.id for one in service.logged()}

        eventually(is_logged)
        assert service.evaluate(evaluation("bob", "write"))["decision"] is False


DATA = """\
package authz

allow if input.action.name == "read"

allow if input.n == 1

full := {"allow": true, "at": time.now_ns()} if input.n == 1
"""


def test_the_data_api_of_an_opa_is_answered_when_the_log_has_it(
    deployment: Deployment, tmp_path: Path
) -> None:
    policy = tmp_path / "authz.rego"
    policy.write_text(DATA)
    with foreign.opa(policy, log=tmp_path / "opa.log") as url:
        tables = (
            f'[opa]\nurl = "{url}"\n[[opa.rule]]\npath = "authz/allow"\n'
            '[[opa.rule]]\npath = "authz/full"\ndecision = "/allow"\n'
        )
        service = gateway_service.made(
            deployment, tmp_path / "gateway", tables, name="gw.example/data"
        )
        with service.running():
            answer = service.post("/v1/data/authz/allow", {"input": evaluation()}).json
            assert answer["result"] is True
            assert "provenance" not in answer
            permit = parse_permit(answer["muniment"]["permit"].encode())
            assert permit.decision.request == evaluation()  # what was decided, exactly

            answer = service.post("/v1/data/authz/full?metrics", {"input": {"n": 1}}).json
            assert answer["result"]["allow"] is True
            assert answer["result"]["at"] > 2**53
            assert "metrics" in answer
            record = service.record(answer["muniment"]["index"])
            assert tuple(record.resource) == ("opa.rule", "authz/full")
            assert record.request["context"] == {"input": {"n": 1}}

            undefined = service.post("/v1/data/authz/allow", {"input": {"n": 2}}).json
            assert undefined["result"] is False
            assert undefined["muniment"]["codes"] == ["could_not_evaluate"]
            undefined = service.post("/v1/data/authz/full", {"input": {"n": 2**53 + 1}}).json
            assert undefined["result"] == {"allow": False}
            assert undefined["muniment"]["codes"] == ["authorization_discontinuity"]

            for path, body, status, code in (
                ("/v1/data/authz/other", {"input": 1}, 404, "resource_not_found"),
                ("/v1/data/authz/allow", {}, 400, "invalid_parameter"),
                ("/v1/data/authz/allow", b"{", 400, "invalid_parameter"),
                ("/v1/data/authz/allow?explain=full", {"input": 1}, 400, "invalid_parameter"),
            ):
                refused = service.post(path, body)
                assert (refused.status, refused.json["code"]) == (status, code)


def test_clients_show_their_tokens(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    token = folder / "shop.token"
    token.write_text("a-token-of-the-shop\n")
    token.chmod(0o600)
    tables = CEDAR + '[[client]]\nname = "shop"\ntoken_file = "shop.token"\n'
    service = gateway_service.made(deployment, folder, tables, name="gw.example/clients")
    with service.running():
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic x"}):
            answer = service.post("/access/v1/evaluation", evaluation(), headers)
            assert answer.status == 401
            assert isinstance(json.loads(answer.body), str)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        own = service.evaluate(evaluation(), Authorization="Bearer a-token-of-the-shop")
        record = service.record(own["context"]["muniment"]["index"])
        assert record.response["context"]["muniment"]["client"] == "shop"


def test_beyond_its_capacity_a_gateway_denies_at_once_and_says_so(
    deployment: Deployment, tmp_path: Path
) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir()
    service = gateway_service.made(
        deployment, folder, command(folder), top="most_waiting = 1\n", name="gw.example/busy"
    )
    with service.running():
        batch = {**evaluation(), "evaluations": [{}] * 20}
        answers = service.post("/access/v1/evaluations", batch).json["evaluations"]
        denied = [one for one in answers if not one["decision"]]
        assert len(denied) == 19  # they come at the same time, and one program runs
        for one in denied:
            assert codes(one) == ["governance_mesh_discontinuity"]
            assert one["context"]["muniment"]["reasons"] == ["too many decisions are under way"]
        wanted = {one["context"]["muniment"]["evaluation_id"] for one in denied}
        eventually(lambda: wanted <= {one.id for one in service.logged()})
