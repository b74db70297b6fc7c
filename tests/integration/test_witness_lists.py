"""A witness that learns of logs from lists: what they add, what they cannot change, and quotas."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import processes
from byzantine import View, new_signer
from log_deployment import ask
from muniment.tlog.loglist import ListedLog, format_log_list
from muniment.tlog.witnesswire import origin_hash
from processes import muniment_witness
from stand import post
from staticserver import static
from waiting import eventually
from witness_tools import set_up


def view(origin: str, key: str | None = None) -> View:
    return View(origin, [new_signer(key or origin)]).append(5)


def entry(of: View, per_day: int = 86_400) -> ListedLog:
    return ListedLog(of.signers[0].vkey, of.origin, per_day, "ops@log.example")


def write(folder: Path, logs: Sequence[ListedLog]) -> None:
    draft = folder / "draft"
    draft.write_bytes(format_log_list(logs))
    draft.replace(folder / "logs")


def status(url: str) -> dict[str, Any]:
    return json.loads(ask(f"{url}/status.json").body)


def origins(url: str) -> set[str]:
    return {log["origin"] for log in status(url)["logs"]}


def alarms(url: str) -> list[tuple[str, str]]:
    return [(alarm["kind"], alarm["subject"]) for alarm in status(url)["alarms"]]


def add(url: str, of: View, old: int = 0) -> int:
    return post(f"{url}/add-checkpoint", of.add_checkpoint(old).encode())[0]


def test_lists_only_ever_add(tmp_path: Path) -> None:
    own, first, sumdb, second, unwanted = (
        view("own.example"),
        view("first.example"),
        view("go.sum database tree", "sum.example"),
        view("second.example"),
        view("unwanted.example"),
    )
    lists = tmp_path / "lists"
    lists.mkdir()
    config, [vkey] = set_up(tmp_path / "w", own.vkeys, name="w.example")
    write(lists, [entry(first, 24), entry(sumdb), entry(unwanted)])
    with static(lists) as served:
        url = f"{served}/logs"
        text = config.read_text()
        config.write_text(
            f'{text}\n[[list]]\nurl = "{url}"\nperiod_seconds = 1\nwithout = ["unwanted.example"]\n'
            '[about]\nsubmission_url = "https://w.example/"\noperator = "Example"\n'
        )
        serve = muniment_witness("serve", "--config", config)
        with processes.start(serve) as witness:
            known = {own.origin, first.origin, sumdb.origin}
            eventually(lambda: origins(witness.url) == known)
            for each in (own, first, sumdb):
                assert add(witness.url, each) == 200
            assert add(witness.url, unwanted) == 404

            # A quota of 24 a day: ten at once, then no more for an hour.
            codes = [add(witness.url, first, 5) for _ in range(12)]
            assert codes == [200] * 10 + [429] * 2
            assert add(witness.url, own, 5) == 200
            metrics = ask(f"{witness.url}/metrics").body.decode()
            assert 'log_requests_total{origin="first.example",result="over-quota"} 2.0' in metrics

            # Whoever sends a public checkpoint again does not keep the log from growing.
            # Nor does who sends the new one as what it is not.
            first.append(2)
            assert [add(witness.url, first, 3) for _ in range(12)] == [409] * 12
            assert add(witness.url, first, 5) == 200

            # Neither a key nor a quota is changed by a list, and nothing is removed.
            thief = view(sumdb.origin, "sum.example")
            write(lists, [entry(first, 86_400), entry(thief), entry(second)])
            eventually(lambda: second.origin in origins(witness.url))
            assert ("list", f"{url} {sumdb.origin}") in alarms(witness.url)
            assert add(witness.url, thief, 5) == 403
            assert add(witness.url, sumdb, 5) == 200
            assert add(witness.url, first, 7) == 429
            write(lists, [])
            eventually(lambda: alarms(witness.url) == [])
            assert origins(witness.url) == known | {second.origin}
            (lists / "logs").write_text("<html>gone</html>\n")
            assert add(witness.url, second) == 200

            about = json.loads(ask(f"{witness.url}/witness.v0.json").body)
            assert about["name"] == "w.example"
            assert about["verifier_keys"] == [str(vkey)]
            assert about["submission_url"] == about["monitoring_url"] == "https://w.example/"
            assert about["log_lists"] == [url]
            page = ask(f"{witness.url}/about").body.decode()
            assert "https://w.example/add-checkpoint" in page
            assert url in page
        # What lists have brought stays, also without them.
        config.write_text(text)
        with processes.start(serve) as witness:
            assert origins(witness.url) == known | {second.origin}
            assert add(witness.url, second, 5) == 200
            path = f"{witness.url}/{origin_hash(second.origin)}/checkpoint"
            assert ask(path).status == 200
            assert add(witness.url, first, 7) == 200  # a restart begins with a full quota


def test_a_listed_log_that_a_key_cannot_cosign_ends_no_witness(tmp_path: Path) -> None:
    """tlog-cosignature, "ML-DSA-44 signed message": log_origin<1..2^8-1>."""
    other, long = view("other.example"), view("x" * 256)
    lists = tmp_path / "lists"
    lists.mkdir()
    config, _ = set_up(tmp_path / "w", [], "ed25519", "mldsa44", name="w.example")
    write(lists, [entry(long), entry(other)])
    with static(lists) as served:
        url = f"{served}/logs"
        with config.open("a") as file:
            file.write(f'\n[[list]]\nurl = "{url}"\nperiod_seconds = 1\n')
        with processes.start(muniment_witness("serve", "--config", config)) as witness:
            eventually(lambda: other.origin in origins(witness.url))
            assert add(witness.url, long) == 404
            assert add(witness.url, other) == 200
            eventually(lambda: ("list", f"{url} {long.origin}") in alarms(witness.url))
        # It may have come before the witness had such a key.
        write(config.parent, [entry(long), entry(other)])
        (config.parent / "logs").replace(config.parent / "witness.listed")
        with processes.start(muniment_witness("serve", "--config", config)) as witness:
            assert origins(witness.url) == {other.origin}
            assert add(witness.url, long) == 404
            assert add(witness.url, other, 5) == 200
