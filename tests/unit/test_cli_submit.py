"""``muniment submit``: what it logs, resumes and sets aside, and what it says of the rest."""

import base64
import json
from pathlib import Path

import pytest

import logsim
from commands import muniment, one_line, online, read, receipts_of, submit, write
from logsim import WITNESSES, LogSim, decision, lines, logged_records
from muniment.cli.setaside import SetAside
from muniment.errors import InputError
from muniment.local.keyfiles import write_key_file
from muniment.tlog.keys.keyfile import KeyFile

pytestmark = pytest.mark.usefixtures("fast_reads", "impatient")
SESAME = "a sesame that is long"


async def test_submit_waits_until_published(gateway_folder: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        result = await online(
            *submit(url, "--wait", "published", "--policy", "trust.policy", "-"),
            stdin=b"\n".join(lines(3)),
        )
        published = json.loads(result.stdout)["published"]
        assert len(published["proofs"]) == 3
        assert published["checkpoint"].startswith("log.example/sim\n4\n")
        sim.publishes = False
        error = one_line(
            await online(
                *submit(url, "--wait", "published", "--origin", logsim.ORIGIN),
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
    gateway_folder: Path, bad: bytes, word: str
) -> None:
    sim = LogSim()
    stdin = b"\n".join([*lines(5), b"", bad, *lines(5, 5)])
    async with sim.serve() as url:
        result = await online(*submit(url, "--batch", "3"), stdin=stdin, code=7)
    error = one_line(result)
    assert "line 7: " in error
    assert word in error
    logged = sum(receipt["count"] for receipt in receipts_of(result))
    assert logged == len(logsim.logged_records(sim))
    assert f"; {logged} records are logged" in error
    assert logged == 5


async def test_submit_says_why_the_log_refuses(gateway_folder: Path) -> None:
    sim = LogSim()
    async with sim.serve() as url:
        to = submit(url, "--timeout", "1")
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
        # So do the others that sign as a gateway.
        revoke = ["revoke", "--force", "--execution", "run-1", "--reason", "over", *other[1:]]
        assert "the key is gw.x+" in one_line(await online(*revoke, code=6))
        sim.script.append((401, "no-token"))
        error = one_line(await online(*to, stdin=lines(1)[0], code=6))
        assert "; MUNIMENT_READ_TOKEN_FILE names the file with a read token" in error
        sim.script.extend(["drop"] * 100)
        assert "no receipt within 1 s" in one_line(await online(*to, stdin=lines(1)[0], code=3))
    one_line(await online(*to, stdin=lines(1)[0], code=3))


def test_submit_names_key_files_that_cannot_be_used(gateway_folder: Path) -> None:
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


async def test_a_missing_input_is_named(gateway_folder: Path) -> None:
    async with LogSim().serve() as url:
        to = submit(url, "nothing.ndjson")
        assert "nothing.ndjson" in one_line(await online(*to, code=7))


async def test_nothing_to_submit_is_nothing(gateway_folder: Path) -> None:
    async with LogSim().serve() as url:
        result = await online(*submit(url), stdin=b"\n \n")
    assert result.stdout == ""


def whole(count: int, start: int = 0) -> list[bytes]:
    return [decision(number) for number in range(start, start + count)]


def mode(name: str) -> int:
    return Path(name).stat().st_mode & 0o777


async def test_an_import_goes_on_where_its_stream_stands(gateway_folder: Path) -> None:
    sim = LogSim()
    first, rest = whole(700), whole(300, 700)
    write("first", b"\n".join(first))
    write("all", b"\n\n".join([*first, *rest]))
    async with sim.serve() as url:
        to = submit(url, "--stream", "import")
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


async def test_lines_that_cannot_be_logged_are_set_aside_with_their_reason(
    gateway_folder: Path,
) -> None:
    sim = LogSim()
    good = whole(len(UNLOGGABLE) + 1)
    mixed = [good[0]]
    for (bad, _), line in zip(UNLOGGABLE, good[1:], strict=True):
        mixed += [bad, line]
    write("in", b"\n".join(mixed))
    async with sim.serve() as url:
        to = submit(url, "--skip-bad", "aside")
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


def test_a_file_of_somebody_else_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(b"what somebody else wrote")
    for goes_on in (False, True):
        with pytest.raises(InputError, match="notes: does not end with a line of what was set"):
            SetAside(path, goes_on=goes_on)
    assert path.read_bytes() == b"what somebody else wrote"


async def test_an_import_goes_on_past_lines_that_were_set_aside(gateway_folder: Path) -> None:
    sim = LogSim()
    good = whole(40)
    mixed = [part for line in good for part in (line, b"bad")]
    write("begin", b"\n".join(mixed[:31]))
    write("in", b"\n".join(mixed))
    async with sim.serve() as url:
        to = submit(url, "--skip-bad", "aside")
        await online(*to, "--batch", "5", "begin")
        write("aside", read("aside") + b'{"line": 3')  # killed as it wrote
        await online(*to, "--batch", "7", "--resume", "in")
    assert logged_records(sim) == good
    aside = [json.loads(line)["line"] for line in read("aside").splitlines()]
    assert aside == list(range(2, 81, 2))


async def test_lines_without_any_that_can_be_logged(gateway_folder: Path) -> None:
    sim = LogSim()
    write("in", b"bad\n" * 50)
    async with sim.serve() as url:
        to = submit(url, "--batch", "2")
        result = await online(*to, "--skip-bad", "aside", "in")
        assert "50 lines were set aside" in result.stderr
        assert result.stdout == ""
        write("junk", b"nothing of ours\n")
        wrong = await online(*to, "--skip-bad", "junk", "--resume", "in", code=7)
        assert "junk: line 1 is no line that was set aside" in one_line(wrong)
    assert read("junk") == b"nothing of ours\n"
    assert not sim.entries
