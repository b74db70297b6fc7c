"""A log, a witness and a gateway whose keys others keep; and what they do when those go away."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
import keepers
import processes
from log_deployment import (
    GATEWAY,
    ORIGIN,
    PRODUCER,
    PUBLISHED,
    TOKEN,
    Deployment,
    ask,
    deployed,
    run,
)
from muniment.audit.auditor import AuditOptions, audit_log
from muniment.audit.report import Verdict
from muniment.errors import GatewayClosed, Undelivered
from muniment.gateway.gateway import Gateway
from muniment.http.logclient import LogClient
from muniment.local.keyfiles import read_key_file
from muniment.tlog.cosignature import signer_for
from muniment.tlog.note import parse_vkey
from muniment.tlog.policy import parse_policy
from signing import ed25519
from waiting import LONGER

LOG_KEY, WITNESS_KEY, GATEWAY_KEY = map(ed25519, ("the log's", "the witness's", "the gateway's"))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with deployed(tmp_path / "all") as made:
        yield made


def refer(keeper: keepers.Keeper, name: str, use: str, out: Path, public: Path | None) -> str:
    """Makes a reference by command, and returns its vkey."""
    more = () if public is None else ("--public", public)
    argv = processes.muniment(
        *("keygen", "--signer", keeper.signer, "--name", name, "--use", use, "--out", out, *more)
    )
    return processes.run(argv, environment=keeper.environment, code=0).stdout.strip()


def token_records(url: str, number: int) -> dict[str, object]:
    body = b"\n".join(decisions.decisions(3, number, PRODUCER))
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}
    answer = ask(f"{url}/v1/records{PUBLISHED}", body, headers)
    assert answer.status == 200, answer.body
    return answer.json


async def test_all_sign_with_keys_that_others_keep(tmp_path: Path, deployment: Deployment) -> None:
    """The log's first and only Ed25519 key signs heads and the manifests of its own streams."""
    keeper = keepers.command(tmp_path, LOG_KEY)
    reference = deployment.folder / "log" / "kept.toml"
    vkey = refer(keeper, ORIGIN, "log", reference, tmp_path / "kept.pub")
    own = parse_vkey(run(processes.muniment_log("vkeys", "--config", deployment.config))[0])

    assert deployment.log.terminate() == 0
    printed = run(
        processes.muniment_log("rotate-key", "--config", deployment.config, "--key", reference)
    )
    assert printed == [vkey]
    again = processes.run(
        processes.muniment_log("rotate-key", "--config", deployment.config, "--key", reference),
        code=3,
    )
    assert "listed already" in again.stderr
    for home in sorted(deployment.folder.glob("w*")):
        run(
            processes.muniment_witness(
                *("rotate-key", "--config", home / "witness.toml", ORIGIN, "--add", vkey)
            )
        )
    policy = (deployment.folder / "log" / "witnesses.policy").read_text()
    policy = f"log {vkey}\n{policy}"
    (deployment.folder / "log" / "witnesses.policy").write_text(policy)
    deployment.start_log()
    token_records(deployment.url, 0)
    assert deployment.log.terminate() == 0
    run(
        processes.muniment_log(
            "rotate-key", "--config", deployment.config, "--retire", f"{own.key_id:08x}"
        )
    )
    deployment.start_log()
    for number in range(1, 4):
        token_records(deployment.url, 3 * number)
    assert str(own) not in deployment.config.read_text()

    async with LogClient(deployment.url) as client:
        outcome = await audit_log(
            client, AuditOptions(policy=parse_policy(policy.encode())), None, now=2**40
        )
    assert outcome.report.verdict is Verdict.CLEAN
    assert not outcome.report.unknown_signers  # of its manifests

    # Its keeper goes away: nothing is acknowledged unsigned, and the log says why it ends.
    (tmp_path / "kept.pem").rename(tmp_path / "away.pem")
    ask(
        f"{deployment.url}/v1/records",
        b"\n".join(decisions.decisions(1, 50, PRODUCER)),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"},
    ).problem(503, "unavailable")
    assert await asyncio.to_thread(deployment.log.wait) == 1
    assert "ended with 1" in deployment.log.stderr
    deployment.refuses("serve", 3, "keys[", "ended with 1")
    (tmp_path / "away.pem").rename(tmp_path / "kept.pem")
    deployment.start_log()
    token_records(deployment.url, 50)


@pytest.mark.skipif(bool(keepers.NO_AGENT), reason=keepers.NO_AGENT or "")
def test_a_witness_signs_by_ssh_agent(tmp_path: Path, deployment: Deployment) -> None:
    home = deployment.folder / "w0"
    with keepers.agent(tmp_path, WITNESS_KEY) as keeper:
        vkey = refer(keeper, "witness.example/w0", "witness", home / "kept.toml", None)
        old = deployment.witnesses[0]
        port = old.url.rpartition(":")[2]
        assert old.terminate() == 0
        config = home / "witness.toml"
        config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        add = processes.muniment_witness(
            "rotate-key", "--config", config, "--key", home / "kept.toml"
        )
        assert processes.run(add, environment=keeper.environment, code=0).stdout.split() == [vkey]
        serve = processes.muniment_witness("serve", "--config", config)
        with processes.start(serve, environment=keeper.environment) as witness:
            policy = "".join(
                f"log {key}\n"
                for key in run(processes.muniment_log("vkeys", "--config", deployment.config))
            )
            policy += f"witness kept {vkey} {witness.url}\nquorum kept\n"
            (deployment.folder / "log" / "witnesses.policy").write_text(policy)
            run(processes.muniment_log("reload", "--config", deployment.config))
            token_records(deployment.url, 0)
        no_agent = {"SSH_AUTH_SOCK": str(tmp_path / "nowhere")}
        done = processes.run(serve, environment=no_agent, code=3)
        assert "ssh-agent: " in done.stderr


@pytest.mark.skipif(bool(keepers.NO_TOKEN), reason=keepers.NO_TOKEN or "")
def test_a_gateway_signs_by_a_token(tmp_path: Path, deployment: Deployment) -> None:
    keeper = keepers.token(tmp_path, GATEWAY_KEY)
    out = tmp_path / "gateway.toml"
    vkey = refer(keeper, GATEWAY, "gateway", out, None)
    deployment.config.write_text(deployment.config.read_text() + f'[[gateway]]\nvkey = "{vkey}"\n')
    run(processes.muniment_log("reload", "--config", deployment.config))
    lines = b"\n".join(decisions.decisions(5, producer=GATEWAY)).decode()
    argv = processes.muniment(
        *("submit", "--log", deployment.url, "--key", out, "--wait", "published")
    )
    done = processes.run(argv, environment=keeper.environment, stdin=lines, code=0)
    assert json.loads(done.stdout.splitlines()[0])


async def test_a_gateway_waits_for_who_keeps_its_key(
    tmp_path: Path, deployment: Deployment
) -> None:
    keeper = keepers.command(tmp_path, GATEWAY_KEY)
    out = tmp_path / "reference"
    vkey = refer(keeper, GATEWAY, "gateway", out, tmp_path / "kept.pub")
    deployment.config.write_text(deployment.config.read_text() + f'[[gateway]]\nvkey = "{vkey}"\n')
    run(processes.muniment_log("reload", "--config", deployment.config))
    signer = signer_for(GATEWAY, read_key_file(out).private, use="gateway")
    entries = decisions.decisions(900, producer=GATEWAY)
    async with Gateway(deployment.url, signer, stream="kept", batch_records=100) as gateway:
        receipts = await asyncio.gather(*(gateway.submit([entry]) for entry in entries[:600]))
        assert len({one.index for [one] in receipts}) == 600

        (tmp_path / "kept.pem").rename(tmp_path / "away.pem")
        for seconds in LONGER:
            with pytest.raises(Undelivered) as caught:
                await gateway.submit([entries[600]], timeout=seconds)
            if "ended with 1" in str(caught.value):
                break
        assert "ended with 1" in str(caught.value)
        waiting = asyncio.create_task(gateway.submit(entries[601:700], timeout=60.0))
        (tmp_path / "away.pem").rename(tmp_path / "kept.pem")
        assert len(await waiting) == 99

        (tmp_path / "kept.pem").rename(tmp_path / "away.pem")
        lost = asyncio.create_task(gateway.submit([entries[700]], timeout=60.0))
        await asyncio.sleep(0)  # it waits now
        await gateway.close(timeout=0.1)
    with pytest.raises(GatewayClosed, match=r"ended with 1|still queued"):
        await lost
