"""A log with the witnesses and tools of others, written from the specifications alone."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import foreign
import logsim
import processes
from log_deployment import ORIGIN, PUBLISHED, Deployment, ask, deployed, run
from muniment.tlog.checkpoint import parse_signed_checkpoint
from muniment.tlog.policy import parse_policy
from staticserver import static
from waiting import eventually


def records(count: int) -> list[bytes]:
    return [logsim.decision(number) for number in range(count)]


def keys_of(deployment: Deployment) -> list[str]:
    return run(processes.muniment_log("vkeys", "--config", deployment.config))


def use_policy(deployment: Deployment, text: str) -> None:
    (deployment.folder / "log" / "witnesses.policy").write_text(text)
    deployment.log.terminate()
    deployment.start_log()


def write_list(deployment: Deployment, folder: Path) -> None:
    """Writes a list of logs with this one alone (C2SP tlog-list) to the file logs in a folder."""
    entry = ("list-entry", "--config", deployment.config, "--contact", "mailto:ops@log.example")
    listed = processes.run(processes.muniment_log(*entry), code=0).stdout
    folder.mkdir()
    (folder / "logs").write_text(f"logs/v0\n\n{listed}")


def seen(deployment: Deployment) -> dict[str, object]:
    witnesses = ask(f"{deployment.url}/readyz").json["witnesses"]
    return next(each for each in witnesses if each["witness"] == "lite")


def test_litewitness_catches_up_after_it_was_away(tmp_path: Path) -> None:
    """With the others' lines, ML-DSA-44 among them, a request would be longer than it takes."""
    foreign.program("litewitness")
    with deployed(tmp_path) as made:
        lite = foreign.Litewitness(tmp_path / "lite", (ORIGIN, keys_of(made)[0]))
        policy = (tmp_path / "log" / "witnesses.policy").read_text()
        use_policy(made, f"witness lite {lite.vkey} {lite.url}\n{policy}")
        stream = made.stream()
        for number in range(3):
            answer = made.post(stream.take(records(number + 1)), PUBLISHED)
            assert answer.status == 200, answer.body
        size = answer.json["size"]
        with lite.running():
            eventually(lambda: seen(made)["size"] == size, lambda: seen(made))


def test_a_rolled_back_log_takes_nothing_when_only_litewitness_knows(tmp_path: Path) -> None:
    foreign.program("litewitness")
    with deployed(tmp_path) as made:
        keys = keys_of(made)
        lite = foreign.Litewitness(tmp_path / "lite", (ORIGIN, keys[0]))
        logs = "".join(f"log {key}\n" for key in keys)
        with lite.running():
            use_policy(made, f"{logs}witness lite {lite.vkey} {lite.url}\nquorum lite\n")
            stream = made.stream()
            assert made.post(stream.take(records(1)), PUBLISHED).status == 200
            database = tmp_path / "log" / "log.db"
            made.log.terminate()
            shutil.copy(database, tmp_path / "copy.db")
            made.start_log()
            assert made.post(stream.take(records(2)), PUBLISHED).status == 200
            made.log.terminate()
            for path in (tmp_path / "log").glob("log.db*"):
                path.unlink()
            shutil.copy(tmp_path / "copy.db", database)
            made.start_log()
            for _ in range(3):
                problem = made.post(made.stream().take(records(1))).problem(503, "unavailable")
                assert "lite: it has cosigned size" in problem["detail"]
            assert ask(f"{made.url}/readyz").status == 503
            assert ask(f"{made.url}/readyz").json["integrated"] == 2


def test_witnesses_of_three_makers_are_one_quorum(tmp_path: Path) -> None:
    """litewitness, omniwitness and aics-witness, all of which have to cosign each head."""
    foreign.program("litewitness")
    foreign.program("omniwitness")
    foreign.program("aics")
    lists = tmp_path / "lists"
    with static(lists) as served, deployed(tmp_path) as made:
        write_list(made, lists)
        keys = keys_of(made)
        makers = {
            "lite": foreign.Litewitness(tmp_path / "lite", (ORIGIN, keys[0])),
            "omni": foreign.Omniwitness(tmp_path / "omni", f"{served}/logs", per_second=100),
            "aics": foreign.AicsWitness(tmp_path / "aics", ORIGIN, keys[0]),
        }
        text = "".join(f"log {key}\n" for key in keys)
        text += "".join(f"witness {n} {each.vkey} {each.url}\n" for n, each in makers.items())
        text += f"group all-of-them all {' '.join(makers)}\nquorum all-of-them\n"
        with contextlib.ExitStack() as running:
            for each in makers.values():
                running.enter_context(each.running())
            use_policy(made, text)
            stream = made.stream()
            policy = parse_policy(text.encode())

            def publishes() -> bool:
                """Whether all have cosigned; omniwitness first has to pull the list."""
                answer = made.post(stream.take(records(1)), PUBLISHED)
                return answer.status == 200

            eventually(publishes, lambda: ask(f"{made.url}/readyz").json)
            head = policy.verify(ask(f"{made.url}/checkpoint").body, origin=ORIGIN)
            assert {name for name, _ in head.cosigners} == set(makers)
            # What the one of them shows that has a monitoring endpoint is of the same history.
            file = tmp_path / "trust.policy"
            file.write_text(text)
            watched = (made.url, makers["aics"].url, "--policy", file, "--once", "--json")
            done = processes.run(processes.muniment("monitor", *watched), code=0)
            assert json.loads(done.stdout)["agreeing"] == [makers["aics"].url]


def test_public_witnesses_of_others_are_asked_within_their_rate(tmp_path: Path) -> None:
    """litewitness, and omniwitness, which has the log from a list and takes one a second."""
    foreign.program("litewitness")
    lists = tmp_path / "lists"
    with static(lists) as served, deployed(tmp_path) as made:
        write_list(made, lists)
        omni = foreign.Omniwitness(tmp_path / "omni", f"{served}/logs", per_second=1)
        lite = foreign.Litewitness(tmp_path / "lite", (ORIGIN, keys_of(made)[0]))
        policy = (tmp_path / "log" / "witnesses.policy").read_text()
        with made.config.open("a") as file:
            for witness in (omni, lite):
                file.write(f'[[witness]]\nurl = "{witness.url}"\nper_day = 86400\n')
        text = f"witness lite {lite.vkey} {lite.url}\nwitness omni {omni.vkey} {omni.url}\n{policy}"
        with omni.running(), lite.running():
            use_policy(made, text)
            stream = made.stream()
            wanted = {omni.vkey.name, lite.vkey.name}

            def has_both() -> bool:
                answer = made.post(stream.take(records(1)), PUBLISHED)
                assert answer.status == 200, answer.body
                kept = ask(f"{made.url}/checkpoint.cosigned")
                return kept.status == 200 and wanted <= {
                    line.name for line in parse_signed_checkpoint(kept.body).note.signatures
                }

            # The log goes on meanwhile, many times faster than they are asked.
            eventually(has_both, lambda: ask(f"{made.url}/readyz").json)
            states = {each["witness"]: each for each in ask(f"{made.url}/readyz").json["witnesses"]}
            assert states["omni"]["error"] is None
            assert states["lite"]["error"] is None


@pytest.mark.parametrize("count", [1, 600])
def test_tessera_s_fsck_finds_a_log_sound(tmp_path: Path, count: int) -> None:
    fsck = foreign.program("fsck")
    with deployed(tmp_path) as made:
        assert made.post(made.stream().take(records(count)), PUBLISHED).status == 200
        key = tmp_path / "key"
        key.write_text(keys_of(made)[0])
        done = subprocess.run(
            [fsck, "-storage_url", f"{made.url}/", "-public_key", key, "-ui=false"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        # Its status is 0 also when the check fails.
        assert "success" in done.stderr.lower(), done.stderr
