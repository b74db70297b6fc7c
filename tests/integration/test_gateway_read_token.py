"""A gateway before a log whose reads need a token: it has the one that the environment names."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

import gateway_service
import processes
from gateway_service import codes, evaluation
from log_deployment import Deployment, run

pytest.importorskip("cedarpy", reason="the extra `cedar` is not installed")

TOKEN = "the-gateways-own"


def test_a_gateway_shows_the_log_the_token_of_the_environment_and_engines_none(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway")
    doctor = processes.muniment_gateway("doctor", "--config", service.config)
    with deployment.config.open("a") as config:
        digest = sha256(TOKEN.encode()).hexdigest()
        config.write(f'\n[[read.token]]\nname = "{service.folder.name}"\nsha256 = "{digest}"\n')
        config.write("expires = 2999-01-31T00:00:00Z\n")
    run(processes.muniment_log("reload", "--config", deployment.config))

    service.start()
    assert codes(service.evaluate(evaluation())) == ["governance_mesh_discontinuity"]
    service.stop()
    wrong = processes.run(doctor, code=8).stdout
    assert "wrong  key: a bearer token is needed (HTTP 401, no-token): MUNIMENT_READ_TOKEN" in wrong

    file = tmp_path / "read-token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    monkeypatch.setenv("MUNIMENT_READ_TOKEN_FILE", str(file))
    with service.running():
        assert service.evaluate(evaluation())["decision"] is True
        assert "ok     key: " in processes.run(doctor, code=0).stdout


def test_a_token_that_cannot_be_sent_or_read_is_named(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = gateway_service.made(deployment, tmp_path / "gateway", name="gw.example/far")
    doctor = processes.muniment_gateway("doctor", "--config", service.config)
    monkeypatch.setenv("MUNIMENT_READ_TOKEN_FILE", str(tmp_path / "none"))
    said = processes.run(doctor, code=3).stderr
    assert "gateway.toml: MUNIMENT_READ_TOKEN_FILE: " in said
    monkeypatch.setenv("MUNIMENT_READ_TOKEN_FILE", "")
    monkeypatch.setenv("MUNIMENT_READ_TOKEN", TOKEN)
    text = service.config.read_text()
    service.config.write_text(text.replace(json.dumps(deployment.url), '"http://log.example"'))
    said = processes.run(doctor, code=3).stderr
    assert "gateway.toml: log: http://log.example: a token is not sent without TLS" in said
    assert TOKEN not in said
