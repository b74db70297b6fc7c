"""The commands that withhold, keep, disclose and erase: ``muniment submit`` and ``spool``."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from commands import muniment, online, submit
from logsim import LogSim, lacking_addenda, lines, logged_records, records_of
from muniment import disclose, parse_record
from muniment.gateway.pseudonyms import RESOURCE_ID, SUBJECT_ID, Pseudonyms

pytestmark = pytest.mark.usefixtures("fast_reads", "impatient")

PAIR: dict[str, Any] = {
    "request": {
        "subject": {"type": "agent", "id": "a", "properties": {"name": "secret"}},
        "action": {"name": "send"},
        "resource": {"type": "tool", "id": "mail"},
        "context": {"to": "secret"},
    },
    "response": {"decision": True},
}


@pytest.fixture
def place(gateway_folder: Path) -> Path:
    """A gateway's folder with input."""
    write([json.dumps(PAIR).encode(), *lines(1)])
    return gateway_folder


def files() -> bytes:
    return b"".join(one.read_bytes() for one in Path().glob("it.spool*"))


def write(given: list[bytes]) -> None:
    Path("in.ndjson").write_bytes(b"\n".join(given))


def command(url: str, *options: str) -> list[str]:
    return submit(url, *options, "in.ndjson")


def test_a_dry_run_shows_and_sends_nothing(place: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    result = muniment(*command(nowhere, "--keep", "log", "--dry-run"))
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["line"] == 1
    assert "secret" not in json.dumps(first["record"])
    assert first["withheld"] == {
        "/request/context": {"to": "secret"},
        "/request/subject/properties": {"name": "secret"},
    }
    assert first["record"]["kept"] == "log"
    assert (second["line"], second["withheld"]) == (2, {})
    only = command(nowhere, "--withhold", "/request/context/*", "--dry-run")
    first, _ = map(json.loads, muniment(*only).stdout.splitlines())
    assert first["withheld"] == {"/request/context/to": "secret"}
    write([b"{}", json.dumps(PAIR).encode()])
    result = muniment(*command(nowhere, "--dry-run"), code=7)
    first, second = map(json.loads, result.stdout.splitlines())
    assert "kind: missing" in first["problem"]
    assert second["record"]["request"] == PAIR["request"]
    assert "nothing was sent" in result.stderr


async def test_content_that_is_no_json_comes_from_files(place: Path) -> None:
    content = b"%PDF secret \xff\0"
    (place / "report.pdf").write_bytes(content)
    write([json.dumps(PAIR).encode()])
    more = ["--content", "/request/context/report=report.pdf"]
    result = await online(*command("http://127.0.0.1:1", *more, "--dry-run"))
    shown = json.loads(result.stdout)
    said = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    assert shown["withheld"] == {"/request/context/report": {"opaque": said}}
    assert shown["record"]["request"]["context"] == {"to": "secret"}
    sim = LogSim()
    async with sim.serve() as url:
        await online(*command(url, *more, "--withhold", "/request/context"))
    [entry] = logged_records(sim)
    assert b"%PDF" not in entry
    assert b'"to"' not in entry
    found = disclose(parse_record(entry), sim.addenda.values())  # type: ignore[arg-type]
    assert found.disclosed == {"/request/context/report": content, "/request/context/to": "secret"}
    assert lacking_addenda(sim) == set()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("report.pdf", "expected POINTER=FILE"),
        ("context=report.pdf", "expected a JSON pointer"),
        ("/request/context/to=report.pdf", "no object for this, or has it already"),
        ("/request/nothing/x=report.pdf", "no object for this, or has it already"),
        ("/request/subject/id=report.pdf", "no object for this, or has it already"),
        ("/execution=report.pdf", "bytes"),
        ("/request/context/x=none.pdf", "none.pdf"),
    ],
)
def test_content_that_has_no_place(place: Path, content: str, said: str) -> None:
    (place / "report.pdf").write_bytes(b"1")
    write([json.dumps(PAIR).encode()])
    result = muniment(*command("http://127.0.0.1:1", "--content", content, "--dry-run"), code=7)
    assert said in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_content_goes_with_one_record(place: Path) -> None:
    (place / "report.pdf").write_bytes(b"1")
    write([json.dumps(PAIR).encode()] * 2)
    more = ["--content", "/request/context/x=report.pdf"]
    result = muniment(*command("http://127.0.0.1:1", *more, "--dry-run"), code=7)
    assert "line 2: --content goes with one record" in result.stderr


def test_patterns_and_keepers_that_are_none(place: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    for options, words in (
        (["--withhold", "/request/subject/id"], "may not be withheld"),
        (["--withhold", "context"], "expected a JSON pointer"),
        (["--keep", "gateway"], "needs a spool"),
    ):
        assert words in muniment(*command(nowhere, *options), code=7).stderr


@pytest.mark.parametrize("skip", [[], ["--skip-bad", "bad.ndjson"]])
async def test_what_is_withheld_goes_beside_the_records(place: Path, skip: list[str]) -> None:
    sim = LogSim()
    long = {**PAIR, "request": {**PAIR["request"], "context": {"text": "secret" * 100_000}}}
    given = [*lines(2), json.dumps(long).encode(), *lines(1), json.dumps(PAIR).encode()]
    if skip:
        given.insert(1, b"{}")
    write(given)
    async with sim.serve() as url:
        await online(*command(url, "--keep", "log", *skip))
        # Once more, and further: what the stream holds is passed over, with its addenda.
        write([*given, json.dumps(PAIR).encode()])
        await online(*command(url, "--keep", "log", "--resume", *skip))
    assert len(logged_records(sim)) == 6
    assert not any(b"secret" in one for one in logged_records(sim))
    assert lacking_addenda(sim) == set()
    assert len(sim.addenda) == 6


async def test_a_spool_keeps_reads_and_erases(place: Path) -> None:
    sim = LogSim()
    keeping = ["--keep", "gateway", "--spool", "it.spool"]
    async with sim.serve() as url:
        await online(*command(url, *keeping))
        assert sim.addenda == {}
        assert b"secret" in files()
        listed = await online("spool", "addenda", "it.spool")
        found = [*map(json.loads, listed.stdout.splitlines())]
        assert {one["pointer"] for one in found} == {
            "/request/context",
            "/request/subject/properties",
        }
        [context] = [one for one in found if one["pointer"] == "/request/context"]
        data = (await online("spool", "read", "it.spool", context["digest"])).stdout_bytes
        assert sha256(data).hexdigest() == context["digest"]
        assert json.loads(data)["value"] == {"to": "secret"}
        digest = "0" * 64
        await online("spool", "read", "it.spool", digest, code=7)
        await online("spool", "erase", "it.spool", digest, "--by", "me", code=7)
        await online("spool", "erase", "it.spool", "--by", "me", code=2)
        await online("spool", "erase", "it.spool", context["digest"], code=2)
        for empty in (("--by", ""), ("--by", "me", "--reason", " ")):
            done = await online("spool", "erase", "it.spool", context["digest"], *empty, code=2)
            assert "empty: say it in words" in done.stderr
        of_record = ["spool", "erase", "it.spool", "--record", context["record"]]
        assert len((await online(*of_record, "--dry-run")).stdout.splitlines()) == 2
        await online(*of_record, "--by", "dpo", "--reason", "asked to")
        assert (await online("spool", "addenda", "it.spool")).stdout == ""
        assert b"secret" not in files()
        await online(*of_record, "--by", "dpo")  # nothing is left of it
        await online(*command(url, *keeping))
    [erasure] = records_of(sim, "erasure")
    assert erasure["digests"] == sorted(one["digest"] for one in found)
    assert (erasure["by"], erasure["reason"]) == ("dpo", "asked to")


def test_no_spool_is_none(place: Path) -> None:
    assert "nothing.spool" in muniment("spool", "addenda", "nothing.spool", code=1).stderr


async def test_ids_are_logged_as_the_pseudonyms_that_gateways_log(place: Path) -> None:
    subjects, resources = "subjects.key", "resources.key"
    options = [f"--pseudonym=/request/subject/id={subjects}"]
    sim = LogSim()
    async with sim.serve() as url:
        await online(*command(url, *options))
        again = [*options, f"--pseudonym=/request/resource/id={resources}", "--stream", "more"]
        await online(*command(url, *again))
    made = Pseudonyms({SUBJECT_ID: subjects, RESOURCE_ID: resources})
    first, _, second, _ = [json.loads(one)["request"] for one in logged_records(sim)]
    assert first["subject"]["id"] == second["subject"]["id"] == made.subject("a")
    assert (first["resource"]["id"], second["resource"]["id"]) == ("mail", made.resource("mail"))
    for id_ in ("a", made.subject("a")):
        printed = await online("pseudonym", "--key", subjects, id_)
        assert printed.stdout.strip() == made.subject("a")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--pseudonym", "/request/action/name=x.key"], "expected /request/subject/id=FILE or"),
        (["--pseudonym", "/request/subject/id="], "expected /request/subject/id=FILE or"),
        (["--pseudonym", "/request/subject/id"], "expected /request/subject/id=FILE or"),
        (["--pseudonym", "/request/subject/id=a", "--pseudonym", "/request/subject/id=b"], "twice"),
        (["--pseudonym", "/request/subject/id=in.ndjson"], "damaged"),
        (["--pseudonym", "/request/subject/id=none/x.key"], "none"),
    ],
)
def test_what_shall_have_no_pseudonym_is_named(place: Path, given: list[str], said: str) -> None:
    Path("in.ndjson").chmod(0o600)
    result = muniment(*command("http://127.0.0.1:1", *given, "--dry-run"), code=7)
    assert said in result.stderr


def test_a_pseudonym_takes_a_key_that_is_there(place: Path) -> None:
    result = muniment("pseudonym", "--key", "none.key", "a", code=7)
    assert "none.key: no such file" in result.stderr
    assert not Path("none.key").exists()
