"""The command ``muniment``: what it prints, and with which exit code it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import muniment, one_line, online, read, receipts_of, submit, write
from logsim import GATEWAY_SIGNER, POLICY_TEXT, WITNESSES, LogSim, decision, lines
from muniment.cli.exits import TABLE, exit_code
from muniment.errors import MunimentError, Refused
from muniment.records.canonical import encode_canonical
from waiting import SECONDS

COMMANDS = """
audit disclose evidence follow keygen lineage monitor permit policy prove revoke spool submit verify
"""


pytestmark = pytest.mark.usefixtures("fast_reads", "impatient")


# Overview


def test_help_names_every_command_and_exit_code() -> None:
    text = muniment("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS.split())
    assert all(words in text for _, words in TABLE)
    assert "Exit codes" in muniment("audit", "--help").stdout


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS.split(),
        *(f"policy {one}" for one in ("explain", "init", "sign", "show", "update")),
        *(f"evidence {one}" for one in ("verify", "explain")),
    ],
)
def test_every_command_has_help(command: str) -> None:
    assert "Usage: " in muniment(*command.split(), "--help").stdout


def test_usage_errors_are_2() -> None:
    for arguments in (["nonsense"], ["submit"], ["prove", "--log", "ftp://x", "--out", "y"]):
        muniment(*arguments, code=2)


def test_the_command_runs_as_a_process_and_quickly() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "muniment", "--help"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"aiohttp", "cryptography", "nacl", "uvloop", "msgspec"}


def test_each_error_has_a_code() -> None:
    def all_of(kind: type[MunimentError]) -> set[type[MunimentError]]:
        return {kind}.union(*map(all_of, kind.__subclasses__()))

    codes = {code for code, _ in TABLE}
    for kind in all_of(MunimentError):
        if kind.__init__ is MunimentError.__init__ and not issubclass(kind, Refused):
            assert exit_code(kind("x")) in codes


# policy explain


def test_policy_explain_says_what_the_quorum_is_worth(gateway_folder: Path) -> None:
    text = muniment("policy", "explain", "trust.policy").stdout
    assert "Trusts the log log.example/sim (1 key)." in text
    assert "at least 2" in text
    assert "while at most 0 of the witnesses cheat" in text
    assert "while at most 1 of them are away" in text
    value = json.loads(muniment("policy", "explain", "trust.policy", "--json").stdout)
    assert (value["byzantine"], value["absent"], value["smallest_quorum"]) == (0, 1, 2)


def test_policy_explain_warns_when_split_views_are_not_prevented(gateway_folder: Path) -> None:
    text = POLICY_TEXT.replace("majority 2", "majority any")
    write("weak.policy", text)
    assert "does not prevent split views" in muniment("policy", "explain", "weak.policy").stdout
    write("none.policy", POLICY_TEXT.partition("group")[0] + "quorum none\n")
    text = muniment("policy", "explain", "none.policy").stdout
    assert "without witnesses" in text
    assert "not used by the quorum: w1, w2, w3" in text


@pytest.mark.parametrize(
    ("text", "word"), [("quorum majority\n", "line 1"), ("", "empty"), (None, "No such file")]
)
def test_a_bad_policy_is_named(gateway_folder: Path, text: str | None, word: str) -> None:
    if text is not None:
        write("bad.policy", text)
    error = one_line(muniment("policy", "explain", "bad.policy", code=7))
    assert word in error
    assert "bad.policy" in error


# submit, prove, verify


async def test_submit_prove_verify(gateway_folder: Path) -> None:
    sim = LogSim()
    write("in.ndjson", b"\n".join([*lines(3), b"", *lines(2, 3)]) + b"\n")
    async with sim.serve() as url:
        to = ["--log", url]
        receipts = receipts_of(await online(*submit(url, "--batch", "2", "in.ndjson")))
        assert [receipt["count"] for receipt in receipts] == [2, 2, 1]
        assert [receipt["first"] for receipt in receipts] == [0, 3, 6]
        assert [receipt["sequence"] for receipt in receipts] == [0, 2, 4]
        assert [receipt["lines"] for receipt in receipts] == [[1, 2], [3, 5], [6, 6]]
        result = await online(
            "prove", *to, "--index", "3", "--out", "a.tlog-proof", "--entry-out", "a.json"
        )
        assert read("a.json") == sim.entries[3]
        write("leaf", sim.entries[4])
        result = await online(
            *("prove", *to, "--leaf", "leaf", "--out", "b.tlog-proof"),
            *("--policy", "trust.policy", "--json"),
        )
        assert json.loads(result.stdout)["index"] == 4
    text = muniment(
        "verify", "a.tlog-proof", "--entry", "a.json", "--policy", "trust.policy"
    ).stdout
    assert "entry 3 of the log log.example/sim" in text
    assert "tree of 8 entries" in text
    assert all(f"  w{n}  2026-09-21" in text for n in (1, 2, 3))
    options = ["--entry", "leaf", "--policy", "trust.policy"]
    value = json.loads(muniment("verify", "b.tlog-proof", *options, "--json").stdout)
    assert (value["verified"], value["index"], value["size"]) == (True, 4, 8)
    # The other way round nothing fits.
    error = one_line(muniment("verify", "a.tlog-proof", *options, code=4))
    assert "not verified: the checkpoint is genuine" in error
    assert "are not entry 3 of its tree" in error
    value = json.loads(muniment("verify", "a.tlog-proof", *options, "--json", code=4).stdout)
    assert value["verified"] is False


async def test_verify_tells_another_spelling_from_a_change(gateway_folder: Path) -> None:
    sim = LogSim()
    record = json.loads(decision(1)) | {"execution": "run"}
    record["request"]["context"] = {"é": [1, 0.5, None]}
    sim.append([encode_canonical(record)])
    async with sim.serve() as url:
        for index in (0, 1):
            await online("prove", "--log", url, "--index", str(index), "--out", f"{index}.proof")
    leaf, manifest = sim.entries
    options = ["--entry", "entry", "--policy", "trust.policy"]
    for index, what, spelling in (
        (0, "JSON", leaf + b"\n"),
        (0, "JSON", b"\xef\xbb\xbf" + leaf + b"\r\n\r\n"),
        (0, "JSON", json.dumps(record, indent=2).encode()),
        (0, "JSON", json.dumps(dict(reversed(record.items())), ensure_ascii=False).encode()),
        (0, "JSON", json.dumps(record, indent=2000).encode()),  # larger than a leaf can be
        (0, "JSON", leaf.replace(b"[1,", b"[1.0,")),
        (1, "text", manifest + b"\n"),
        (1, "text", manifest.rstrip(b"\n")),
        (1, "text", manifest.replace(b"\n", b"\r\n")),
    ):
        write("entry", spelling)
        error = one_line(muniment("verify", f"{index}.proof", *options, code=4))
        assert f"same {what}, other spelling" in error
        assert "were changed" not in error
    for index, changed in (
        (0, leaf.replace(b"run", b"ruN") + b"\n"),
        (0, json.dumps(record | {"v": 2}, indent=2).encode()),
        (0, b"\n" + manifest),
        (1, leaf + b"\n"),
        (1, manifest + b" "),
        (0, b""),
        (0, b"\xff" * 9),
        (0, b"[" * 100_000),
    ):
        write("entry", changed)
        error = one_line(muniment("verify", f"{index}.proof", *options, code=4))
        assert "were changed" in error
        assert "other spelling" not in error


async def test_verify_names_what_is_missing(gateway_folder: Path) -> None:
    sim = LogSim(witnesses=WITNESSES[:1])
    sim.append([decision(1)])
    write("e", sim.entries[0])
    async with sim.serve() as url:
        await online("prove", "--log", url, "--index", "0", "--out", "p")
        options = ["--log", url, "--index", "0", "--out", "q", "--policy", "trust.policy"]
        assert "no quorum" in one_line(await online("prove", *options, code=4))
    assert not (gateway_folder / "q").exists()
    options = ["--entry", "e", "--policy", "trust.policy"]
    assert "no quorum" in one_line(muniment("verify", "p", *options, code=4))
    write("none.policy", POLICY_TEXT.partition("group")[0] + "quorum none\n")
    text = muniment("verify", "p", "--entry", "e", "--policy", "none.policy").stdout
    assert "  w1  " in text
    write("garbage", "garbage\n")
    assert "not verified: tlog-proof" in one_line(muniment("verify", "garbage", *options, code=4))
    one_line(muniment("verify", "nothing", *options, code=7))


async def test_prove_says_what_is_not_there(gateway_folder: Path) -> None:
    sim = LogSim()
    sim.append([decision(1)])
    write("leaf", b"no such leaf")
    async with sim.serve() as url:
        to = ["prove", "--log", url, "--out", "p"]
        error = one_line(await online(*to, "--index", "2", code=7))
        assert "entry 2 is not published: the checkpoint's size is 2" in error
        error = one_line(await online(*to, "--leaf", "leaf", code=7))
        assert "not among the 2 published entries" in error
        await online(*to, code=2)
        await online(*to, "--index", "0", "--leaf", "leaf", code=2)
        sim.overrides["tile/0/000.p/2"] = b"x" * 64
        one_line(await online(*to, "--index", "0", code=4))


async def test_prove_finds_the_newest_of_many(gateway_folder: Path) -> None:
    sim = LogSim()
    for start in range(0, 9000, 3000):
        sim.append([decision(n) for n in range(start, start + 3000)])
    write("leaf", sim.entries[300])
    async with sim.serve() as url:
        await online("prove", "--log", url, "--leaf", "leaf", "--out", "p")
    options = ["--entry", "leaf", "--policy", "trust.policy"]
    assert "entry 300 " in muniment("verify", "p", *options).stdout


# audit


async def test_audit_and_its_exit_codes(gateway_folder: Path) -> None:
    sim = LogSim()
    sim.append([decision(n) for n in range(20)])
    write("gateways", f"# the gateways\n{GATEWAY_SIGNER.vkey}\n")
    async with sim.serve() as url:
        to = ["audit", "--log", url, "--policy", "trust.policy", "--state", "audit.state"]
        text = (await online(*to, "--gateway", str(GATEWAY_SIGNER.vkey))).stdout
        assert "Rehashed 21 entries: 20 records and 1 manifest on 1 stream." in text
        assert "Verified 1 manifest signature." in text
        assert text.endswith("Verdict: clean.\n")
        saved = read("audit.state")
        sim.append([decision(n) for n in range(20, 40)])
        value = json.loads((await online(*to, "--gateway", "gateways", "--json")).stdout)
        assert (value["since"], value["counts"]["entries"]) == (21, 21)
        assert read("audit.state") != saved
        text = (await online(*to)).stdout
        assert "Rehashed 0 entries" in text

        sim.frozen = sim.checkpoint(21)
        text = (await online(*to, code=4)).stdout
        assert "not verified: stale: " in text
        sim.frozen = b"hello\n"
        assert "bad-checkpoint" in (await online(*to, code=4)).stdout
        sim.frozen = None
        other = LogSim()
        other.append([decision(n) for n in range(100, 120)])
        other.append([decision(n) for n in range(120, 140)])
        sim.frozen = other.checkpoint()
        text = (await online(*to, code=5)).stdout
        assert "PROVEN: same-size: " in text
        assert text.count("log.example/sim\n42\n") == 2
        sim.frozen = None
        assert "PROVEN" in (await online(*to, code=5)).stdout
    one_line(await online(*to[:-2], code=3))


async def test_audit_names_bad_input(gateway_folder: Path) -> None:
    async with LogSim().serve() as url:
        to = ["audit", "--log", url, "--policy", "trust.policy"]
        write("broken", "{}")
        assert "broken: audit state" in one_line(await online(*to, "--state", "broken", code=7))
        assert "--gateway" in one_line(await online(*to, "--gateway", "a+b+c", code=7))
        assert "nothing" in one_line(await online(*to, "--gateway", "nothing", code=7))
        to[-1] = "nothing"
        one_line(await online(*to, code=7))


@pytest.mark.parametrize("url", ["http://", "http://x?y", "http://x:y@z"])
def test_a_bad_url_is_a_usage_error(gateway_folder: Path, url: str) -> None:
    assert "log URL" in muniment("audit", "--log", url, "--policy", "x", code=2).stderr
