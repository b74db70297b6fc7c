"""`muniment verify` of completeness proofs, and how `prove-complete` is asked; offline."""

import json
from pathlib import Path

import pytest

from commands import muniment
from complete_tools import Indexed
from governed import policy, story
from muniment.complete.keys import key
from muniment.tlog.policy import format_policy
from signing import NOW

KEYS = (
    key("revocations", "execution", "call"),
    key("revocations", "key_name", "gateway.example/one"),
    key("execution", "call"),
    key("to", "agent", "orch", "log.example/other"),
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world, _ = story()
    world.revoke(execution="call")
    indexed = Indexed.of(world)
    Path("a.complete").write_bytes(indexed.prove(KEYS, records=True).encode())
    Path("part.complete").write_bytes(indexed.prove(KEYS[2:3], limit=2).encode())
    Path("policy").write_bytes(format_policy(policy()))


def test_it_says_what_a_proof_states() -> None:
    out = muniment("verify", "a.complete", "--policy", "policy").stdout
    assert out.splitlines()[0].startswith(
        "Verified: of the log log.example/one, as of size 8, 2026-09-21 14:13:20 UTC, under the"
    )
    lines = [line.strip() for line in out.splitlines()]
    assert (
        "This 1 is all revocations of run call as of size 8: leaf 7. Nothing exists beyond."
        in lines
    )
    assert "There are no revocations of any key named gateway.example/one as of size 8." in lines
    assert (
        "These 5 are all records about run call as of size 8: leaves 3, 4, 5, 6, 7. Nothing exists "
        "beyond." in lines
    )
    assert "There are no edges to agent orch of log log.example/other as of size 8." in lines


def test_it_says_of_a_part_that_there_is_more() -> None:
    out = muniment("verify", "part.complete", "--policy", "policy").stdout
    assert (
        "There are 5 records about run call as of size 8; named are the first 2: leaves 3, 4."
        in out
    )


def test_json_has_the_same() -> None:
    said = json.loads(muniment("verify", "a.complete", "--policy", "policy", "--json").stdout)
    assert (said["verified"], said["size"], said["time"]) == (True, 8, NOW)
    assert said["index"]["origin"] == "log.example/one/index"
    [revoked] = [one for one in said["keys"] if one["key"] == "revocations execution call"]
    assert (revoked["count"], revoked["leaves"], revoked["whole"]) == (1, [7], True)
    assert said["records"] == [3, 4, 5, 6, 7]


def test_what_was_changed_is_not_verified() -> None:
    path = Path("a.complete")
    path.write_bytes(path.read_bytes().replace(b"leaves 1 7", b"leaves 1 6"))
    failed = muniment("verify", "a.complete", "--policy", "policy", code=4)
    assert failed.stderr.startswith("muniment: not verified:")
    told = muniment("verify", "a.complete", "--policy", "policy", "--json", code=4).stdout
    assert not json.loads(told)["verified"]


def test_a_tlog_proof_needs_its_entry() -> None:
    Path("some.tlog-proof").write_text("c2sp.org/tlog-proof@v1\n")
    failed = muniment("verify", "some.tlog-proof", "--policy", "policy", code=2)
    assert "Missing option '--entry'" in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say about what"),
        (["--revocations-of", "call"], "expected TYPE:ID"),
        (["--revocations-of", "agent:sub"], "expected run, decision, key, name"),
        (["--thing", "run:"], "expected TYPE:ID"),
        (["--subject", "sub"], "expected TYPE:ID"),
    ],
)
def test_questions_that_are_none(arguments: list[str], words: str) -> None:
    asked = ["--log", "http://127.0.0.1:1", "--policy", "policy", "--out", "new", *arguments]
    assert words in muniment("prove-complete", *asked, code=2).stderr
