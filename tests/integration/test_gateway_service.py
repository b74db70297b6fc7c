"""The gateway service with Cedar's own engine, a real log and its witnesses."""

import json
import re
import time
from pathlib import Path

import pytest

import chains
import gateway_service
import processes
from gateway_service import Service, codes, evaluation
from log_deployment import Deployment, ask, run
from muniment.permit.permitfile import parse_permit
from muniment.tlog.policy import PolicyChain, parse_policy
from waiting import eventually

DAY = 86_400

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")


def test_an_allowed_request_has_a_permit_that_verifies(service: Service) -> None:
    answer = service.evaluate(evaluation())
    own = answer["context"]["muniment"]
    assert answer["decision"] is True
    permit = parse_permit(own["permit"].encode())
    decision = permit.decision
    assert (permit.index, decision.id) == (own["index"], own["evaluation_id"])
    service.deployment.policy.verify(permit.proof.checkpoint)
    assert decision.request == evaluation()
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
    done = processes.run(processes.muniment_gateway("doctor", "--config", service.config), code=0)
    for subject in ("log", "witnesses", "key", "clock", "authority cedar", "spool"):
        assert f"ok     {subject}: " in done.stdout


def test_doctor_finds_that_the_log_has_another_key_of_this_name(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/exchanged")
    other = service.folder / "other.pem"
    made = ("keygen", "--name", "gw.example/exchanged", "--use", "gateway", "--out", other)
    [vkey] = run(processes.muniment(*made))
    text = service.config.read_text()
    size = ask(f"{deployment.url}/checkpoint").body.split(b"\n")[1]
    service.config.write_text(text.replace("gateway-ed25519.pem", other.name))
    done = processes.run(processes.muniment_gateway("doctor", "--config", service.config), code=8)
    assert "wrong  key: the log does not take what gw.example/exchanged signs (" in done.stdout
    assert f'add [[gateway]] vkey = "{vkey}"' in done.stdout
    service.config.write_text(text)
    done = processes.run(processes.muniment_gateway("doctor", "--config", service.config), code=0)
    assert "ok     key: stream default is at record 0" in done.stdout
    assert ask(f"{deployment.url}/checkpoint").body.split(b"\n")[1] == size  # nothing is logged


def test_doctor_says_that_the_running_gateway_can_log_nothing(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/doubled")
    doctor = processes.muniment_gateway("doctor", "--config", service.config)
    with service.running():
        assert "ok     gateway: runs, enforce" in processes.run(doctor, code=0).stdout
        decisions = tmp_path / "decisions.ndjson"
        decisions.write_text(
            json.dumps({"request": evaluation(), "response": {"decision": True}}) + "\n"
        )
        key = service.folder / "gateway-ed25519.pem"
        run(processes.muniment("submit", "--log", deployment.url, "--key", key, decisions))
        codes(service.evaluate(evaluation()))
        eventually(lambda: not service.is_ready())
        done = processes.run(doctor, code=8)
        assert "wrong  gateway: runs, and can log nothing: " in done.stdout
        assert "does another process write to this stream?" in done.stdout
        # Everywhere that tells of it says what to do.
        words = "it stays so until the gateway is restarted"
        assert words in done.stdout
        assert words in service.process.stderr
        status = processes.muniment_gateway("status", "--config", service.config)
        assert words in processes.run(status, code=0).stdout


def test_the_mode_is_on_record_before_anything_is_decided(service: Service) -> None:
    record = service.record(0)
    assert (record.action, *record.resource) == ("muniment.change", "muniment.mode", "enforce")


def test_metrics_and_health_are_served(service: Service) -> None:
    service.evaluate(evaluation())
    metrics = ask(f"{service.url}/metrics").body.decode()
    assert 'muniment_gateway_decisions_total{code="",decision="allow"}' in metrics
    assert ask(f"{service.url}/healthz").status == 200


def test_a_policy_over_time_counts_while_a_version_is_in_force(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/timely")
    text = (deployment.folder / "log" / "witnesses.policy").read_text()
    now = int(time.time())
    old = chains.version((), text, (now - 2 * DAY, now - DAY))
    renewed = chains.version(old, text, (now - DAY, now + DAY))
    policy = tmp_path / "chain.policy"
    config = service.config.read_text()
    named = re.sub(r"^policy = .*$", f'policy = "{policy}"', config, count=1, flags=re.MULTILINE)
    service.config.write_text(named)
    policy.write_bytes(chains.file(renewed))
    with service.running():
        answer = service.evaluate(evaluation())
        assert answer["decision"] is True
        permit = parse_permit(answer["context"]["muniment"]["permit"].encode())
        chain = parse_policy(policy.read_bytes())
        assert isinstance(chain, PolicyChain)
        assert chain.version_of(chain.verify(permit.proof.checkpoint)).number == 2
    # Expired: what the log gives is genuine, and nobody may act on it.
    policy.write_bytes(chains.file(old))
    with service.running():
        answer = service.evaluate(evaluation())
        assert answer["decision"] is False
        assert "the trust policy has expired" in str(answer)
        done = processes.run(processes.muniment_gateway("doctor", "--config", service.config))
        assert "the trust policy has expired" in done.stdout


def test_the_gateways_key_is_changed_in_two_steps_and_that_is_on_record(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/rotating")
    rotate = ("rotate-key", "--config", service.config)
    [old] = run(processes.muniment_gateway("vkey", "--config", service.config))
    with service.running():
        busy = processes.run(processes.muniment_gateway(*rotate, "--add"))
        assert (busy.returncode, "in use" in busy.stderr) == (4, True)
    [new] = run(processes.muniment_gateway(*rotate, "--add"))
    assert (new.split("+")[0], new != old) == ("gw.example/rotating", True)
    again = processes.run(processes.muniment_gateway(*rotate, "--add"))
    assert (again.returncode, "is to follow already" in again.stderr) == (3, True)
    with service.running():
        [signing] = run(processes.muniment_gateway("vkey", "--config", service.config))
        assert signing == old
        assert service.evaluate(evaluation())["decision"] is True
        run(processes.muniment_gateway("reload", "--config", service.config))
    gateway_service.admit(deployment, new)
    run(processes.muniment_gateway(*rotate, "--retire", old))
    last = processes.run(processes.muniment_gateway(*rotate, "--retire", new))
    assert (last.returncode, "the only key" in last.stderr) == (3, True)
    with service.running():
        [signing] = run(processes.muniment_gateway("vkey", "--config", service.config))
        assert signing == new
        permit = parse_permit(
            service.evaluate(evaluation())["context"]["muniment"]["permit"].encode()
        )
        assert permit.index > 0
        [change] = [one for one in service.logged() if one.resource == ("muniment.key", new)]
        assert change.request["context"] == {"subject": "key", "before": old, "now": new}


def test_with_the_log_gone_everything_is_denied_at_once_and_kept(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/away")
    with service.running():
        deployment.log.pause()  # it still has its sockets: requests wait for it
        try:
            first = service.evaluate(evaluation())
            assert codes(first) == ["governance_mesh_discontinuity"]
            kept = [service.evaluate(evaluation()) for _ in range(20)]
            assert {tuple(codes(one)) for one in kept} == {("governance_mesh_discontinuity",)}
            assert not service.is_ready()
            denied = service.evaluate(evaluation("bob", "write"))
            assert codes(denied) == ["denied_by_policy"]
        finally:
            deployment.log.resume()
        eventually(service.is_ready)
        wanted = {one["context"]["muniment"]["evaluation_id"] for one in kept}

        def are_logged() -> bool:
            return wanted <= {one.id for one in service.logged() if not one.allowed}

        eventually(are_logged)
        assert service.evaluate(evaluation())["decision"] is True


def test_a_gateway_that_starts_without_its_log_denies_and_keeps(
    deployment: Deployment, tmp_path: Path
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/early")
    deployment.log.pause()
    try:
        service.start()
        denied = service.evaluate(evaluation())
        assert codes(denied) == ["governance_mesh_discontinuity"]
        assert not service.is_ready()
    finally:
        deployment.log.resume()
    try:
        eventually(service.is_ready)
        wanted = denied["context"]["muniment"]["evaluation_id"]
        eventually(lambda: wanted in {one.id for one in service.logged()})
        assert service.evaluate(evaluation())["decision"] is True
    finally:
        service.stop()


def test_a_killed_gateway_goes_on_where_it_was(deployment: Deployment, tmp_path: Path) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/killed")
    for _ in range(2):
        service.start()
        eventually(service.is_ready)
        assert service.evaluate(evaluation())["decision"] is True
        service.process.kill()
    with service.running():
        assert service.evaluate(evaluation())["decision"] is True
