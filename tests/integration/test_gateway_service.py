"""The gateway service with Cedar's own engine, a real log and its witnesses."""

from collections.abc import Iterator

import pytest

import gateway_service
import processes
from gateway_service import Service, evaluation
from log_deployment import Deployment, ask, deployed
from muniment.permit.permitfile import parse_permit

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("log")) as made:
        yield made


@pytest.fixture(scope="module")
def service(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = gateway_service.made(deployment, tmp_path_factory.mktemp("gateway"))
    with made.running():
        yield made


def test_an_allowed_request_has_a_permit_that_verifies(service: Service) -> None:
    answer = service.evaluate(evaluation())
    own = answer["context"]["muniment"]
    assert answer["decision"] is True
    permit = parse_permit(own["permit"].encode())
    decision = permit.decision
    assert decision is not None
    assert (permit.index, decision.id) == (own["index"], own["evaluation_id"])
    service.deployment.policy.verify(permit.proof.checkpoint)
    assert decision.request == evaluation()
    assert decision.artifact is not None
    assert decision.artifact.policy.id == "cedar"
    assert service.record(own["index"]) == decision


def test_a_denied_request_is_on_record_with_its_code(service: Service) -> None:
    answer = service.evaluate(evaluation("bob", "write"))
    own = answer["context"]["muniment"]
    assert (answer["decision"], own["codes"]) == (False, ["denied_by_policy"])
    record = service.record(own["index"])
    assert not record.allowed
    [told] = record.response["context"]["muniment"]["answers"]
    assert (told["authority"], told["decision"]) == ("cedar", False)


def test_doctor_finds_nothing_wrong(service: Service) -> None:
    done = processes.run(processes.muniment_gateway("doctor", "--config", service.config))
    assert done.returncode == 0, done.stdout + done.stderr
    for subject in ("log", "witnesses", "key", "clock", "authority cedar", "spool"):
        assert f"ok     {subject}: " in done.stdout


def test_the_mode_is_on_record_before_anything_is_decided(service: Service) -> None:
    record = service.record(0)
    assert (record.action, *record.resource) == ("muniment.change", "muniment.mode", "enforce")


def test_metrics_and_health_are_served(service: Service) -> None:
    service.evaluate(evaluation())
    metrics = ask(f"{service.url}/metrics").body.decode()
    assert 'muniment_gateway_decisions_total{code="",decision="allow"}' in metrics
    assert ask(f"{service.url}/healthz").status == 200
