"""`muniment-witness feed`, `status`, `export` and `acknowledge` against running processes."""

import json
from pathlib import Path

import processes
from byzantine import ByzantineLog
from muniment.tlog.evidence import parse_evidence
from muniment.tlog.witnesswire import origin_hash, parse_cosignatures
from muniment_witness.cli.exits import EXIT_ALARMS, EXIT_REFUSED, EXIT_UNREACHABLE
from processes import muniment_witness
from stand import Answer, Stand, post
from witness_tools import set_up


def run(*arguments: object) -> processes.Done:
    return processes.run(muniment_witness(*arguments))


def init(folder: Path, log: ByzantineLog) -> Path:
    set_up(folder, log.vkeys, name="w.example")
    return folder / "witness.toml"


def test_feeding_any_witness_from_any_log(tmp_path: Path) -> None:
    """Neither side is a Muniment log, nor needs to know the other."""
    log = ByzantineLog()
    log.main.append(5)
    config = init(tmp_path / "w", log)
    with (
        log.serve() as stand,
        processes.start(muniment_witness("serve", "--config", config)) as witness,
    ):
        command = ("feed", "--log", stand.url(), "--log-vkey", log.vkeys[0], "--once")
        target = ("--witness", witness.url)
        for size, old in ((5, 0), (400, 5), (400, 400)):
            log.main.append(size - log.main.size)
            done = run(*command, *target)
            assert done.returncode == 0, done.stderr
            line = json.loads(done.stdout)
            assert (line["size"], line["old"]) == (size, old)
            assert parse_cosignatures("".join(f"{x}\n" for x in line["cosignatures"]).encode())
        log.main.shown = 100
        done = run(*command, *target)
        assert done.returncode == EXIT_REFUSED
        assert "has cosigned size 400" in done.stderr
        with Stand(lambda _: Answer(status=500)).serve("127.0.0.1") as broken:
            assert run(*command, "--witness", broken.url()).returncode == EXIT_REFUSED
        assert run(*command, "--witness", "http://127.0.0.1:1").returncode == EXIT_UNREACHABLE


def test_evidence_is_reported_exported_and_acknowledged(tmp_path: Path) -> None:
    log = ByzantineLog()
    log.main.append(20)
    config = init(tmp_path / "w", log)
    serve = muniment_witness("serve", "--config", config)
    with processes.start(serve) as witness:
        assert run("status", "--url", witness.url).returncode == 0
        add = witness.url + "/add-checkpoint"
        assert post(add, log.main.add_checkpoint(0).encode())[0] == 200
        assert post(add, log.main.fork(3).add_checkpoint(20).encode())[0] == 422
        # Evidence is durable before that answer: nothing is lost by a kill.
        witness.kill()
    with processes.start(serve) as witness:
        add = witness.url + "/add-checkpoint"
        log.main.append(5)
        assert post(add, log.main.add_checkpoint(20).encode())[0] == 403
        done = run("status", "--url", witness.url)
        assert done.returncode == EXIT_ALARMS
        assert "alarm  evidence  log.example/byzantine" in done.stdout
        done = run("export", "--url", witness.url, tmp_path / "out")
        assert done.returncode == 0
        [file] = (tmp_path / "out").glob("*.evidence")
        assert parse_evidence(file.read_bytes()).kind == "same-size"
        assert (tmp_path / "out" / f"{origin_hash(log.origin)}.checkpoint").exists()
        done = run("acknowledge", "--config", config, log.origin, "--evidence", file.stem)
        assert done.returncode == 0, done.stderr
        assert witness.terminate() == 0
    with processes.start(serve) as witness:
        add = witness.url + "/add-checkpoint"
        assert post(add, log.main.add_checkpoint(20).encode())[0] == 200
        assert run("status", "--url", witness.url).returncode == 0
    assert run("status", "--url", witness.url).returncode == EXIT_UNREACHABLE
