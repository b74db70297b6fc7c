"""The command ``muniment``: what it prints, and with which exit code it ends."""

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import logsim
from commands import muniment, online
from logsim import (
    GATEWAY_SIGNER,
    POLICY_TEXT,
    WITNESSES,
    LogSim,
    decision,
    lines,
    logged_records,
)
from muniment.cli.exits import TABLE, exit_code
from muniment.errors import MunimentError, Refused
from muniment.local.keyfiles import read_key_file, write_key_file
from muniment.records.canonical import encode_canonical
from muniment.tlog.keys.keyfile import KeyFile
from muniment.tlog.note import parse_vkey
from waiting import SECONDS

COMMANDS = [
    "audit",
    "disclose",
    "evidence",
    "follow",
    "keygen",
    "lineage",
    "monitor",
    "permit",
    "policy",
    "prove",
    "revoke",
    "spool",
    "submit",
    "verify",
]

pytestmark = pytest.mark.usefixtures("fast_reads", "impatient")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a policy and a gateway's key file, as working directory."""
    monkeypatch.chdir(tmp_path)
    write("trust.policy", POLICY_TEXT)
    key = KeyFile(logsim.private(logsim.GATEWAY), GATEWAY_SIGNER.vkey)
    write_key_file(Path("gateway.pem"), key, None)
    return tmp_path


SESAME = "a sesame that is long"


def write(name: str, data: bytes | str) -> None:
    Path(name).write_bytes(data.encode() if isinstance(data, str) else data)


def read(name: str) -> bytes:
    return Path(name).read_bytes()


def listing() -> set[str]:
    return {path.name for path in Path().iterdir()}


def one_line(result: Result) -> str:
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("muniment: ")
    return result.stderr


# Overview


def test_help_names_every_command_and_exit_code() -> None:
    text = muniment("--help").stdout
    assert all(f"  {name} " in text for name in COMMANDS)
    assert all(words in text for _, words in TABLE)
    assert "Exit codes" in muniment("audit", "--help").stdout


@pytest.mark.parametrize(
    "command",
    [
        *COMMANDS,
        "policy explain",
        "policy init",
        "policy sign",
        "policy show",
        "policy update",
        "evidence verify",
        "evidence explain",
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


# keygen


@pytest.mark.parametrize(
    ("use", "algorithm", "kind"),
    [
        ("log", "ed25519", 1),
        ("log", "mldsa44", 6),
        ("witness", "ed25519", 4),
        ("witness", "mldsa44", 6),
        ("gateway", "ed25519", 1),
    ],
)
def test_keygen_writes_the_key_and_prints_the_vkey(
    place: Path, use: str, algorithm: str, kind: int
) -> None:
    options = ["--name", "x.example/y", "--use", use, "--algorithm", algorithm]
    printed = muniment("keygen", *options, "--out", "new.pem").stdout
    vkey = parse_vkey(printed.removesuffix("\n"))
    assert (vkey.name, vkey.algorithm) == ("x.example/y", kind)
    assert read_key_file(place / "new.pem").vkey == vkey
    assert (place / "new.pem").stat().st_mode & 0o777 == 0o600
    error = one_line(muniment("keygen", *options, "--out", "new.pem", code=7))
    assert "exists already" in error


def test_keygen_encrypts(place: Path) -> None:
    options = ["--name", "x.example/y", "--use", "gateway", "--encrypt", "--out", "new.pem"]
    result = muniment("keygen", *options, stdin=f"{SESAME}\n{SESAME}\n")
    assert result.stdout.startswith("x.example/y+")
    assert read_key_file(place / "new.pem", SESAME.encode()).vkey is not None
    muniment("keygen", *options[:-1], "other.pem", stdin=f"{SESAME}\ndifferent\n", code=1)
    short = muniment("keygen", *options[:-1], "short.pem", stdin="sesame\nsesame\n", code=7)
    assert "shorter than 16" in short.stderr
    (place / "pass").touch(0o600)
    (place / "pass").write_text(f"{SESAME}\n")
    options = [*options[:4], "--passphrase-file", "pass", "--out", "third.pem"]
    muniment("keygen", *options)
    assert read_key_file(place / "third.pem", SESAME.encode()).vkey is not None
    (place / "pass").write_text("\n")
    assert "empty" in one_line(muniment("keygen", *options[:-1], "fourth.pem", code=7))
    (place / "pass").write_text("sesame\n")
    assert "shorter than 16" in one_line(muniment("keygen", *options[:-1], "5.pem", code=7))
    (place / "pass").chmod(0o640)
    assert "0640" in one_line(muniment("keygen", *options[:-1], "6.pem", code=7))
    assert not list(place.glob("short.pem")) + list(place.glob("[4-6]*.pem"))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--name", "x y", "--use", "log"], "key name"),
        (["--name", "x", "--use", "gateway", "--algorithm", "mldsa44"], "Ed25519"),
    ],
)
def test_keygen_refuses(place: Path, options: list[str], word: str) -> None:
    assert word in one_line(muniment("keygen", *options, "--out", "new.pem", code=7))
    assert not (place / "new.pem").exists()


KEYS = Path(__file__).parents[1] / "keys"


def private_copy(place: Path, name: str) -> str:
    """A key of another tool, which the checkout keeps without the mode of a private file."""
    shutil.copyfile(KEYS / name, place / name)
    (place / name).chmod(0o600)
    return name


@pytest.mark.parametrize(
    ("name", "kind"),
    [("openssl-mldsa44-seed-priv.pem", 6), ("openssh-ed25519", 1), ("ring-ed25519.der", 1)],
)
def test_keygen_imports_a_key(place: Path, name: str, kind: int) -> None:
    source = private_copy(place, name)
    options = ["--from", source, "--name", "x.example/y", "--use", "log"]
    printed = muniment("keygen", *options, "--out", "new.pem").stdout
    vkey = parse_vkey(printed.removesuffix("\n"))
    assert (vkey.name, vkey.algorithm) == ("x.example/y", kind)
    assert read_key_file(place / "new.pem").vkey == vkey
    assert (place / "new.pem").stat().st_mode & 0o777 == 0o600
    # What was imported may be imported again, and stays what it was.
    options[1] = "new.pem"
    assert muniment("keygen", *options, "--out", "again.pem").stdout == printed
    assert (place / "again.pem").read_bytes() == (place / "new.pem").read_bytes()
    assert (place / source).read_bytes() == (KEYS / source).read_bytes()


def test_keygen_imports_a_key_with_a_passphrase(place: Path) -> None:
    options = ["--from", private_copy(place, "openssh-ed25519-encrypted"), "--name", "x.example/y"]
    options += ["--use", "gateway", "--out", "new.pem"]
    assert "no passphrase given" in one_line(muniment("keygen", *options, code=7))
    (place / "theirs").touch(0o600)
    (place / "theirs").write_text("test passphrase of fixtures\n")
    (place / "ours").touch(0o600)
    (place / "ours").write_text(f"{SESAME}\n")
    muniment("keygen", *options, "--from-passphrase-file", "theirs", "--passphrase-file", "ours")
    assert read_key_file(place / "new.pem", SESAME.encode()).vkey is not None
    options[-1] = "plain.pem"
    plain = muniment("keygen", *options, "--from-passphrase-file", "theirs")
    assert "openssh-ed25519-encrypted is encrypted, plain.pem is not" in plain.stderr


def test_keygen_says_when_a_note_key_gets_another_name(place: Path) -> None:
    options = ["--from", private_copy(place, "go-note-ed25519.key"), "--use", "log"]
    named = muniment("keygen", *options, "--name", "note.example/test", "--out", "new.pem")
    assert named.stdout == (KEYS / "go-note-ed25519.vkey").read_text()
    assert named.stderr == ""
    other = muniment("keygen", *options, "--name", "x.example/y", "--out", "other.pem")
    assert "names its key note.example/test; as x.example/y it has another vkey" in other.stderr
    assert other.stdout.startswith("x.example/y+")


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("openssl-mldsa44-seed-priv.pem", ["--use", "gateway"], "Ed25519"),
        ("openssl-mldsa44-priv-only.pem", ["--use", "log"], "seed-only"),
        ("openssl-ed25519.pem", ["--use", "log", "--algorithm", "mldsa44"], "is for ed25519"),
        ("openssh-ecdsa", ["--use", "log"], "not Ed25519"),
    ],
)
def test_keygen_refuses_to_import(place: Path, name: str, options: list[str], word: str) -> None:
    source = private_copy(place, name)
    options = ["--from", source, "--name", "x", *options, "--out", "new.pem"]
    assert word in one_line(muniment("keygen", *options, code=7))
    assert not (place / "new.pem").exists()
    (place / source).chmod(0o644)
    assert "make it 0600" in one_line(muniment("keygen", *options, code=7))


# policy explain


def test_policy_explain_says_what_the_quorum_is_worth(place: Path) -> None:
    text = muniment("policy", "explain", "trust.policy").stdout
    assert "Trusts the log log.example/sim (1 key)." in text
    assert "at least 2" in text
    assert "while at most 0 of the witnesses cheat" in text
    assert "while at most 1 of them are away" in text
    value = json.loads(muniment("policy", "explain", "trust.policy", "--json").stdout)
    assert (value["byzantine"], value["absent"], value["smallest_quorum"]) == (0, 1, 2)


def test_policy_explain_warns_when_split_views_are_not_prevented(place: Path) -> None:
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
def test_a_bad_policy_is_named(place: Path, text: str | None, word: str) -> None:
    if text is not None:
        write("bad.policy", text)
    error = one_line(muniment("policy", "explain", "bad.policy", code=7))
    assert word in error
    assert "bad.policy" in error


# submit, prove, verify


async def test_submit_prove_verify(place: Path) -> None:
    sim = LogSim()
    write("in.ndjson", b"\n".join([*lines(3), b"", *lines(2, 3)]) + b"\n")
    async with sim.serve() as url:
        to = ["--log", url]
        result = await online("submit", *to, "--key", "gateway.pem", "--batch", "2", "in.ndjson")
        receipts = [json.loads(line) for line in result.stdout.splitlines()]
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


async def test_verify_tells_another_spelling_from_a_change(place: Path) -> None:
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


async def test_verify_names_what_is_missing(place: Path) -> None:
    sim = LogSim(witnesses=WITNESSES[:1])
    sim.append([decision(1)])
    write("e", sim.entries[0])
    async with sim.serve() as url:
        await online("prove", "--log", url, "--index", "0", "--out", "p")
        options = ["--log", url, "--index", "0", "--out", "q", "--policy", "trust.policy"]
        assert "no quorum" in one_line(await online("prove", *options, code=4))
    assert "q" not in listing()
    options = ["--entry", "e", "--policy", "trust.policy"]
    assert "no quorum" in one_line(muniment("verify", "p", *options, code=4))
    write("none.policy", POLICY_TEXT.partition("group")[0] + "quorum none\n")
    text = muniment("verify", "p", "--entry", "e", "--policy", "none.policy").stdout
    assert "  w1  " in text
    write("garbage", "garbage\n")
    assert "not verified: tlog-proof" in one_line(muniment("verify", "garbage", *options, code=4))
    one_line(muniment("verify", "nothing", *options, code=7))


async def test_prove_says_what_is_not_there(place: Path) -> None:
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


async def test_prove_finds_the_newest_of_many(place: Path) -> None:
    sim = LogSim()
    for start in range(0, 9000, 3000):
        sim.append([decision(n) for n in range(start, start + 3000)])
    write("leaf", sim.entries[300])
    async with sim.serve() as url:
        await online("prove", "--log", url, "--leaf", "leaf", "--out", "p")
    options = ["--entry", "leaf", "--policy", "trust.policy"]
    assert "entry 300 " in muniment("verify", "p", *options).stdout


async def test_submit_waits_until_published(place: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        result = await online(
            *("submit", "--log", url, "--key", "gateway.pem", "--wait", "published"),
            *("--policy", "trust.policy", "-"),
            stdin=b"\n".join(lines(3)),
        )
        published = json.loads(result.stdout)["published"]
        assert len(published["proofs"]) == 3
        assert published["checkpoint"].startswith("log.example/sim\n4\n")
        sim.publishes = False
        error = one_line(
            await online(
                *("submit", "--log", url, "--key", "gateway.pem", "--wait", "published"),
                *("--origin", logsim.ORIGIN),
                stdin=lines(1)[0],
                code=6,
            )
        )
        assert "not-published" in error


BAD_LINES = [
    (b"{", "not JSON"),
    (b'{"kind":"decision"}', "request"),
    (b'{"kind":"dance"}', "kind"),
    (b'{"request":{},"request":{}}', "twice"),
    (lines(1)[0].replace(b'"response"', b'"producer": "someone", "response"'), "producer"),
    (lines(1)[0].replace(b"true", b"[" * 70 + b"]" * 70), "deep"),
    (b"[]", "object"),
    (b"\xff", "UTF-8"),
    (b"x" * 300_000, "longer than"),
]


@pytest.mark.parametrize(("bad", "word"), BAD_LINES, ids=[word for _, word in BAD_LINES])
async def test_a_bad_line_is_named_and_what_was_logged_is_told(
    place: Path, bad: bytes, word: str
) -> None:
    sim = LogSim()
    stdin = b"\n".join([*lines(5), b"", bad, *lines(5, 5)])
    async with sim.serve() as url:
        result = await online(
            *("submit", "--log", url, "--key", "gateway.pem", "--batch", "3"), stdin=stdin, code=7
        )
    error = one_line(result)
    assert "line 7: " in error
    assert word in error
    receipts = [json.loads(line) for line in result.stdout.splitlines()]
    logged = sum(receipt["count"] for receipt in receipts)
    assert logged == len(logsim.logged_records(sim))
    assert f"; {logged} records are logged" in error
    assert logged == 5


async def test_submit_says_why_the_log_refuses(place: Path) -> None:
    sim = LogSim()
    to = ["submit", "--key", "gateway.pem", "--timeout", "1"]
    async with sim.serve() as url:
        to += ["--log", url]
        sim.script.append((422, "bad-record", {"entry": 1}))
        error = one_line(await online(*to, stdin=b"\n\n" + b"\n".join(lines(3)), code=6 + 1))
        assert "line 4: the log refused it" in error
        sim.script.append((409, "stream-conflict"))
        assert "another process" in one_line(await online(*to, stdin=lines(1)[0], code=6))
        write_key_file(
            Path("other.pem"),
            KeyFile(logsim.private("x"), logsim.Ed25519Signer("gw.x", logsim.private("x")).vkey),
            None,
        )
        other = ["submit", "--log", url, "--key", "other.pem"]
        error = one_line(await online(*other, code=6))
        assert "unknown-gateway" in error
        assert "the key is gw.x+" in error
        sim.script.extend(["drop"] * 100)
        assert "no receipt within 1 s" in one_line(await online(*to, stdin=lines(1)[0], code=3))
    one_line(await online(*to, stdin=lines(1)[0], code=3))


def test_submit_names_key_files_that_cannot_be_used(place: Path) -> None:
    to = ["submit", "--log", "http://127.0.0.1:1"]
    assert "nothing.pem" in one_line(muniment(*to, "--key", "nothing.pem", code=7))
    Path("gateway.pem").chmod(0o644)
    assert "0600" in one_line(muniment(*to, "--key", "gateway.pem", code=7))
    write_key_file(Path("bare.pem"), KeyFile(logsim.private("x"), None), None)
    assert "vkey line" in one_line(muniment(*to, "--key", "bare.pem", code=7))
    write_key_file(Path("w.pem"), KeyFile(logsim.private("w1"), WITNESSES[0].vkey), None)
    assert "witness" in one_line(muniment(*to, "--key", "w.pem", code=7))
    write_key_file(Path("enc.pem"), KeyFile(logsim.private("x"), None), SESAME.encode())
    assert "passphrase" in one_line(muniment(*to, "--key", "enc.pem", code=7))
    Path("pass").touch(0o600)
    Path("pass").write_text("wrong\n")
    options = ["--key", "enc.pem", "--passphrase-file", "pass"]
    assert "wrong passphrase" in one_line(muniment(*to, *options, code=7))


async def test_a_missing_input_is_named(place: Path) -> None:
    async with LogSim().serve() as url:
        to = ["submit", "--log", url, "--key", "gateway.pem", "nothing.ndjson"]
        assert "nothing.ndjson" in one_line(await online(*to, code=7))


async def test_nothing_to_submit_is_nothing(place: Path) -> None:
    async with LogSim().serve() as url:
        result = await online("submit", "--log", url, "--key", "gateway.pem", stdin=b"\n \n")
    assert result.stdout == ""


# audit


async def test_audit_and_its_exit_codes(place: Path) -> None:
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


async def test_audit_names_bad_input(place: Path) -> None:
    async with LogSim().serve() as url:
        to = ["audit", "--log", url, "--policy", "trust.policy"]
        write("broken", "{}")
        assert "broken: audit state" in one_line(await online(*to, "--state", "broken", code=7))
        assert "--gateway" in one_line(await online(*to, "--gateway", "a+b+c", code=7))
        assert "nothing" in one_line(await online(*to, "--gateway", "nothing", code=7))
        to[-1] = "nothing"
        one_line(await online(*to, code=7))


@pytest.mark.parametrize("url", ["http://", "http://x?y", "http://x:y@z"])
def test_a_bad_url_is_a_usage_error(place: Path, url: str) -> None:
    assert "log URL" in muniment("audit", "--log", url, "--policy", "x", code=2).stderr


def whole(count: int, start: int = 0) -> list[bytes]:
    return [decision(number) for number in range(start, start + count)]


def mode(name: str) -> int:
    return Path(name).stat().st_mode & 0o777


def receipts_of(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


async def test_an_import_goes_on_where_its_stream_stands(place: Path) -> None:
    sim = LogSim()
    first, rest = whole(700), whole(300, 700)
    write("first", b"\n".join(first))
    write("all", b"\n\n".join([*first, *rest]))
    async with sim.serve() as url:
        to = ["submit", "--log", url, "--key", "gateway.pem", "--stream", "import"]
        await online(*to, "--batch", "64", "first")
        result = await online(*to, "--batch", "128", "--resume", "all")
        assert "holds the first 700 records, to line 1399." in result.stderr
        assert receipts_of(result)[0]["lines"][0] == 1401
        assert sum(one["count"] for one in receipts_of(result)) == 300
        assert logged_records(sim) == [*first, *rest]
        again = await online(*to, "--resume", "all")
        assert again.stdout == ""
        assert "holds the first 1000 records" in again.stderr
        wrong = await online(*to, "--resume", "first", code=7)
        assert "the stream holds 1000 records, and the input only 700" in one_line(wrong)
        # A stream of which the log knows nothing: all is new.
        result = await online(*to[:-1], "another", "--resume", "first")
        assert sum(one["count"] for one in receipts_of(result)) == 700
    assert logged_records(sim) == [*first, *rest, *first]


UNLOGGABLE = [
    (b"not json", "not JSON"),
    (b'{"request":{}}', "kind: missing"),
    (b'{"a":1,"a":2}', "comes twice"),
    (b"\xff\xfe", "not UTF-8"),
    (decision(1).replace(b'"time":1790000000001', b'"time":1790000000'), "can only be seconds"),
    (b'{"x":"' + b"y" * 700_000 + b'"}', "longer than 262144 bytes"),
    (b"[]", "expected an object"),
]


async def test_lines_that_cannot_be_logged_are_set_aside_with_their_reason(place: Path) -> None:
    sim = LogSim()
    good = whole(len(UNLOGGABLE) + 1)
    mixed = [good[0]]
    for (bad, _), line in zip(UNLOGGABLE, good[1:], strict=True):
        mixed += [bad, line]
    write("in", b"\n".join(mixed))
    async with sim.serve() as url:
        to = ["submit", "--log", url, "--key", "gateway.pem", "--skip-bad", "aside"]
        result = await online(*to, "--batch", "3", "in")
        assert "7 lines were set aside, with the reasons: aside" in result.stderr
        assert logged_records(sim) == good
        aside = [json.loads(line) for line in read("aside").splitlines()]
        assert [one["line"] for one in aside] == [2, 4, 6, 8, 10, 12, 14]
        for one, (bad, reason) in zip(aside, UNLOGGABLE, strict=True):
            assert reason in one["reason"]
            kept = one["text"].encode() if "text" in one else base64.b64decode(one["base64"])
            assert kept == bad[:262144]
        assert mode("aside") == 0o600
        # Nothing of an earlier run is lost or mixed up.
        wrong = await online(*to, "in", code=7)
        assert "lines were set aside there before" in one_line(wrong)
        assert len(logged_records(sim)) == len(good)


async def test_an_import_goes_on_past_lines_that_were_set_aside(place: Path) -> None:
    sim = LogSim()
    good = whole(40)
    mixed = [part for line in good for part in (line, b"bad")]
    write("begin", b"\n".join(mixed[:31]))
    write("in", b"\n".join(mixed))
    async with sim.serve() as url:
        to = ["submit", "--log", url, "--key", "gateway.pem", "--skip-bad", "aside"]
        await online(*to, "--batch", "5", "begin")
        write("aside", read("aside") + b'{"line": 3')  # killed as it wrote
        await online(*to, "--batch", "7", "--resume", "in")
    assert logged_records(sim) == good
    aside = [json.loads(line)["line"] for line in read("aside").splitlines()]
    assert aside == list(range(2, 81, 2))


async def test_lines_without_any_that_can_be_logged(place: Path) -> None:
    sim = LogSim()
    write("in", b"bad\n" * 50)
    async with sim.serve() as url:
        to = ["submit", "--log", url, "--key", "gateway.pem", "--batch", "2"]
        result = await online(*to, "--skip-bad", "aside", "in")
        assert "50 lines were set aside" in result.stderr
        assert result.stdout == ""
        write("junk", b"nothing of ours\n")
        wrong = await online(*to, "--skip-bad", "junk", "--resume", "in", code=7)
        assert "junk: line 1 is no line that was set aside" in one_line(wrong)
    assert read("junk") == b"nothing of ours\n"
    assert not sim.entries
