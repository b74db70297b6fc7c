"""The administrative sockets of real services: who gets in, what changes, what is not public."""

import asyncio
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import decisions
import processes
import signing
from log_deployment import Stream, ask, run
from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.witnesswire import AddCheckpoint
from muniment_service import unixsocket
from muniment_service.http import json_response
from muniment_service.metrics import Metrics
from muniment_service.routing import App
from muniment_service.server import serving_unix

ORIGIN = "log.example/decisions"
OTHER = "log.example/second"
GATEWAY = signing.log_signer("gw.example/edge")
TOKEN = "a token"


def command(argv: list[str], code: int = 0) -> str:
    done = processes.run(argv, code=code)
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def log_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    run(processes.muniment_log("init", folder, "--origin", ORIGIN, "--listen", "127.0.0.1:0"))
    return folder


@pytest.fixture(scope="module")
def log(log_folder: Path) -> Iterator[processes.Process]:
    argv = processes.muniment_log("serve", "--config", log_folder / "log.toml")
    with processes.start(argv) as running:
        yield running
        assert running.terminate() == 0
        assert not (log_folder / "admin.sock").exists()


def test_gateways_and_tokens_change_while_the_log_runs(
    log: processes.Process, log_folder: Path
) -> None:
    config = log_folder / "log.toml"
    sock = log_folder / "admin.sock"
    assert stat.S_IMODE(sock.stat().st_mode) == 0o600
    stream = Stream("edge", GATEWAY)
    batches = f"{log.url}/v1/batches"
    ask(batches, stream.peek(decisions.decisions(2))).problem(403, "unknown-gateway")
    before = config.read_text()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tables = (
        f'[[gateway]]\nvkey = "{GATEWAY.vkey}"\n'
        f'[[token]]\nproducer = "p.example"\nsha256 = "{digest}"\nexpires = 2999-01-01T00:00:00Z\n'
        f'[[read.token]]\nname = "r"\nsha256 = "{digest}"\n'
    )
    config.write_text(before + tables)
    reload = processes.muniment_log("reload", "--config", config)
    told = json.loads(command(reload))
    assert told["gateways"] == {"gw.example/edge": [f"{GATEWAY.vkey.key_id:08x}"]}
    assert told["tokens"] == [{"holder": "p.example", "expires": "2999-01-01T00:00:00+00:00"}]
    assert digest not in json.dumps(told)
    assert ask(batches, stream.take(decisions.decisions(2))).status == 200
    ask(f"{log.url}/v1/entries/0").problem(401, "no-token")
    status = json.loads(command(processes.muniment_log("status", "--config", config)))
    assert (status["origin"], status["integrated"]) == (ORIGIN, 3)
    # What takes a restart is refused, and so is what cannot be used; all stays as it was.
    for wrong, word in (
        ((before + tables).replace('"127.0.0.1:0"', '"127.0.0.1:1"'), "listen: has changed"),
        (before + tables + '[[gateway]]\nvkey = "x"\n', r"gateway[1].vkey"),
        ("origin =", "not TOML"),
    ):
        config.write_text(wrong)
        assert word in command(reload, 1 if "TOML" not in word else 3)
    config.write_text(before + tables)
    assert ask(batches, stream.take(decisions.decisions(1, 2))).status == 200
    config.write_text(before)
    command(reload)
    ask(batches, stream.take(decisions.decisions(1, 3))).problem(403, "unknown-gateway")
    assert ask(f"{log.url}/v1/entries/0").status != 401


def test_nothing_administrative_is_public(log: processes.Process) -> None:
    for path in ("/reload", "/status", "/admin", "/v1/admin", "/admin/reload"):
        for body in (None, b"{}"):
            ask(log.url + path, body).problem(404, "not-found")


def test_a_killed_log_leaves_a_socket_that_does_not_stand_in_the_way(tmp_path: Path) -> None:
    config = tmp_path / "log.toml"
    run(processes.muniment_log("init", tmp_path, "--origin", ORIGIN, "--listen", "127.0.0.1:0"))
    serve = processes.muniment_log("serve", "--config", config)
    status = processes.muniment_log("status", "--config", config)
    assert "no service answers" in command(status, 9)
    with processes.start(serve) as log:
        log.kill()
    assert (tmp_path / "admin.sock").is_socket()
    assert "no service answers" in command(status, 9)
    with processes.start(serve):
        command(status)
        # Another one on the same database does not get as far as taking the socket away.
        assert "in use" in command(serve, 4)
        command(status)


async def test_only_the_own_user_and_root_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(Metrics("test"))

    async def hello(_: object) -> object:
        return json_response({"hello": "you"})

    app.route("GET", "/", hello)  # type: ignore[arg-type]  # never looks at the request
    path = tmp_path / ("long" * 40) / "admin.sock"
    path.parent.mkdir()
    async with serving_unix(app, path):
        told = await asyncio.to_thread(unixsocket.ask, path, "GET", "/")
        assert told == {"hello": "you"}
        with pytest.raises(unixsocket.NotDoneError, match="nothing at this path"):
            await asyncio.to_thread(unixsocket.ask, path, "GET", "/x")
        # The kernel names the peer; here the service is somebody else, and the peer not root.
        monkeypatch.setattr(unixsocket, "_ROOT", 12345)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
        with pytest.raises(unixsocket.NotDoneError):
            await asyncio.to_thread(unixsocket.ask, path, "GET", "/")
    assert not path.exists()
    path.write_text("something else")
    with pytest.raises(OSError, match="in use"):
        async with serving_unix(app, path):
            pass
    assert path.read_text() == "something else"


def test_another_user_is_kept_out(log: processes.Process, log_folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    script = (
        "import os, socket, sys\nos.setuid(65534)\ns = socket.socket(socket.AF_UNIX)\n"
        "s.connect(sys.argv[1])\n"
    )
    # A copy of the name where that user may look, so that the socket's own mode is what counts.
    place = Path(f"/tmp/{os.getpid()}-{time.monotonic_ns()}.sock")
    os.link(log_folder / "admin.sock", place)
    try:
        done = subprocess.run(
            [shutil.which("python3") or "python3", "-c", script, str(place)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        place.unlink()
    assert "PermissionError" in done.stderr
    assert log.returncode is None


def test_a_witness_takes_logs_up_and_drops_them_while_it_runs(tmp_path: Path) -> None:
    config = tmp_path / "witness.toml"
    init = ("init", tmp_path, "--name", "w.example", "--listen", "127.0.0.1:0")
    run(processes.muniment_witness(*init, "--algorithm", "ed25519"))
    keys = {name: signing.log_signer(name) for name in (ORIGIN, OTHER)}

    def change(*arguments: object, code: int = 0) -> str:
        name, *rest = arguments
        return command(processes.muniment_witness(name, "--config", config, *rest), code)

    def cosign(name: str) -> int:
        """Asks for the same head each time: from nothing at first, then once more."""
        signed = sign_checkpoint(Checkpoint(name, 1, b"\1" * 32), [keys[name]], 0)
        for old in (0, 1):
            body = AddCheckpoint(old, (), signed).encode()
            status = ask(f"{witness.url}/add-checkpoint", body).status
            if status != 409:
                break
        return status

    with processes.start(processes.muniment_witness("serve", "--config", config)) as witness:
        assert cosign(ORIGIN) == 404
        assert "taken up" in change("add-log", keys[ORIGIN].vkey)
        assert cosign(ORIGIN) == 200
        assert "taken up" in change("add-log", keys[OTHER].vkey)
        assert (cosign(OTHER), cosign(ORIGIN)) == (200, 200)
        assert "taken up" in change("remove-log", OTHER)
        assert cosign(OTHER) == 404
        assert cosign(ORIGIN) == 200
        # A held origin is let go as soon as its evidence is acknowledged.
        assert "taken up" in change("acknowledge", ORIGIN, "--evidence", "0" * 64)
        found = json.loads(change("status", "--json"))
        assert [one["origin"] for one in found["logs"]] == [ORIGIN]
        peer = signing.witness("w2.example")
        with config.open("a") as out:
            out.write(f'[[peer]]\nvkeys = ["{peer.vkey}"]\nurl = "http://127.0.0.1:9"\n')
        assert "taken up" in change("reload")
        found = json.loads(change("status", "--json"))
        assert [one["name"] for one in found["peers"]] == ["w2.example"]
        text = config.read_text()
        config.write_text(
            text.replace('name = "w.example"', 'name = "w.example"\nlog_level="debug"')
        )
        assert "log_level: has changed" in change("reload", code=7)
        config.write_text(text)
        for path in ("/reload", "/status", "/admin"):
            for body in (None, b"{}"):
                ask(witness.url + path, body).problem(404, "not-found")
        assert witness.terminate() == 0
    assert "does not run" in change("add-log", keys[OTHER].vkey)
