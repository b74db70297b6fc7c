"""Logs whose origin is not the name of their keys, as Go's sumdb: policies, evidence, witness."""

from pathlib import Path

import pytest

from byzantine import View
from muniment.monitor.heads import LOG, HeadReader, Pair, compare
from muniment.tlog.checkpoint import SignedCheckpoint
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.evidence import (
    Fork,
    contradiction_of,
    log_verifiers,
    parse_evidence,
    strip,
    verify_evidence,
)
from muniment.tlog.heads import Prefix
from muniment.tlog.note import Signer
from muniment.tlog.policy import Policy, PolicyLog, format_policy, parse_policy
from muniment_service.config import ConfigError
from muniment_witness.cli import admin
from muniment_witness.config import load
from muniment_witness.judge.decide import KnownLog
from muniment_witness.judge.relation import Unproven, authentic, judge
from muniment_witness.judge.relation import compare as compare_heads
from signing import NOW, ORIGIN, log_mldsa44, log_signer, signed, witness
from witness_tools import set_up

KEY = "sum.example"
TREE = "go.sum database tree"
CA = "oid/1.3.6.1.4.1.32473.2"
W = witness("w.example")
HEADER = f"log {log_signer(KEY).vkey} https://sum.example\norigin {TREE}\n"
POLICY = parse_policy(f"{HEADER}witness w {W.vkey}\nquorum w\n".encode())


def head(*signers: Signer, origin: str = TREE, size: int = 7) -> SignedCheckpoint:
    return signed(*(signers or (log_signer(KEY), W)), origin=origin, size=size)


# The policy


def test_a_policy_names_the_origin_that_a_key_signs() -> None:
    assert POLICY.origins == (TREE,)
    assert POLICY.logs == (PolicyLog(log_signer(KEY).vkey, "https://sum.example", (TREE,)),)
    assert POLICY.verify(head()).log_keys == (log_signer(KEY).vkey,)
    assert POLICY.recognise(head(log_signer(KEY)))
    assert parse_policy(format_policy(POLICY)) == POLICY


@pytest.mark.parametrize("origin", [KEY, ORIGIN, "go.sum database", f"{TREE} "])
def test_the_key_signs_no_other_log(origin: str) -> None:
    with pytest.raises(VerificationError, match="does not list log"):
        POLICY.verify(head(origin=origin))


def test_no_other_key_signs_it() -> None:
    with pytest.raises(VerificationError, match="not signed by a key of log go"):
        POLICY.verify(head(log_signer(TREE.replace(" ", ".")), W))
    text = f"{HEADER}log {log_signer(ORIGIN).vkey}\nquorum none\n"
    both = parse_policy(text.encode())
    assert both.verify(head(log_signer(ORIGIN), origin=ORIGIN))
    for key, origin in ((KEY, ORIGIN), (ORIGIN, TREE)):
        with pytest.raises(VerificationError, match="not signed by a key of log"):
            both.verify(head(log_signer(key), origin=origin))


def test_one_key_signs_several_logs() -> None:
    """As the key of a certification authority does, which numbers its logs."""
    key = log_mldsa44(CA).vkey
    text = f"log {key}\n# first and third\norigin {CA}.0.1\n\n  origin\t {CA}.0.3\t\nquorum none\n"
    policy = parse_policy(text.encode())
    assert policy.origins == (f"{CA}.0.1", f"{CA}.0.3")
    for number, good in ((1, True), (2, False), (3, True)):
        made = head(log_mldsa44(CA), origin=f"{CA}.0.{number}")
        if good:
            assert policy.verify(made).origin == f"{CA}.0.{number}"
        else:
            with pytest.raises(VerificationError):
                policy.verify(made)
    assert policy.log_keys(f"{CA}.0.3") == (key,)
    assert policy.log_keys(CA) == ()
    assert parse_policy(format_policy(policy)) == policy


LINE = f"log {log_signer(KEY).vkey}\n"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (f"origin {TREE}\nquorum none\n", "line 1: an origin line that does not follow"),
        (f"{LINE}quorum none\norigin x\n", "line 3: an origin line that does not follow"),
        (f"{LINE}witness w {W.vkey}\norigin x\nquorum none\n", "line 3: an origin line that"),
        (f"{LINE}origin\nquorum none\n", "line 2: wrong number of items after origin"),
        (f"{LINE}origin x\norigin x\nquorum none\n", "line 3: x is an origin of this log already"),
        (f"{LINE}origin a\tb\nquorum none\n", "line 2: origin cannot stand in a policy file"),
        (LINE + "".join(f"origin {n}\n" for n in range(257)) + "quorum none\n", "more than 256"),
    ],
)
def test_what_an_origin_line_may_not_be(text: str, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        parse_policy(text.encode())


@pytest.mark.parametrize("origin", ["", " x", "x\t", "a\nb", "a\udcff"])
def test_what_no_file_can_say_is_refused(origin: str) -> None:
    with pytest.raises(FormatError, match="origin cannot stand in a policy file"):
        Policy((PolicyLog(log_signer(KEY).vkey, None, (origin,)),), (), (), "none")


def test_octets_that_are_no_text_are_no_origin() -> None:
    with pytest.raises(FormatError, match="line 2: origin cannot stand"):
        parse_policy(LINE.encode() + b"origin a\xff\nquorum none\n")


def test_keys_of_before_count_by_the_name_of_those_of_now() -> None:
    made = signed(witness("x.example"), origin=TREE)
    old = log_mldsa44(KEY)
    with pytest.raises(VerificationError):
        POLICY.recognise(head(old))
    assert POLICY.recognise(head(old), old=[old.vkey])
    with pytest.raises(VerificationError):
        POLICY.recognise(made, old=[old.vkey, log_mldsa44(TREE.replace(" ", ".")).vkey])


# Evidence


LOG_VIEW = View(TREE, [log_signer(KEY)], clock=lambda: NOW).append(9)
FORKED = LOG_VIEW.fork(5, 12)
VERIFIERS = LOG_VIEW.verifiers


def fork_of(older: View, newer: View) -> Fork:
    prefix = Prefix(newer.root(9), newer.proof(9, 12))
    made = contradiction_of(older.checkpoint(9), newer.checkpoint(12), prefix, KEY)
    assert isinstance(made, Fork)
    return made


def test_evidence_against_such_a_log() -> None:
    made = fork_of(LOG_VIEW, FORKED)
    assert parse_evidence(made.encode()) == made
    proven = verify_evidence(made, VERIFIERS, origin=TREE)
    assert (proven.origin, proven.kind, proven.is_one_key) == (TREE, "fork", True)
    verifiers = log_verifiers(POLICY, origin=TREE)
    assert verify_evidence(made, verifiers, origin=TREE).evidence == made


def test_the_key_of_another_log_convicts_nobody() -> None:
    made = fork_of(LOG_VIEW, FORKED)
    for verifiers, origin in ((VERIFIERS, None), (VERIFIERS, KEY), ((), TREE)):
        with pytest.raises(VerificationError, match="no key is known of the log go"):
            verify_evidence(made, verifiers, origin=origin)
    other = View(TREE, [log_signer(ORIGIN)], clock=lambda: NOW).append(9)
    forged = contradiction_of(
        other.checkpoint(9), other.fork(5, 9).checkpoint(9), None, log_signer(ORIGIN).vkey.name
    )
    assert forged is not None
    with pytest.raises(VerificationError):
        verify_evidence(forged, VERIFIERS, origin=TREE)


def test_evidence_has_lines_of_one_name() -> None:
    cosigned = LOG_VIEW.checkpoint(9, cosigners=[W])
    assert [line.name for line in strip(cosigned, KEY).note.signatures] == [KEY]
    with pytest.raises(FormatError, match="no signature line of the log"):
        strip(cosigned)
    made = fork_of(LOG_VIEW, FORKED)
    with pytest.raises(FormatError, match="not of the log"):
        Fork(cosigned, made.newer, made.implied_root, made.proof)
    with pytest.raises(FormatError, match="two names"):
        Fork(strip(cosigned, W.vkey.name), made.newer, made.implied_root, made.proof)


def test_a_monitor_proves_a_fork() -> None:
    reader = HeadReader(POLICY, TREE)
    one = reader.read(LOG, LOG_VIEW.checkpoint(9, cosigners=[W]).encode())
    other = reader.read("https://w", FORKED.checkpoint(12, cosigners=[W]).encode())
    prefix = Prefix(FORKED.root(9), FORKED.proof(9, 12))
    made = compare(Pair(one, other), prefix, reader.log_verifiers)
    assert made is not None
    assert verify_evidence(made, reader.log_verifiers, origin=reader.origin).kind == "fork"


# The witness


def test_a_witness_compares_its_heads() -> None:
    log = KnownLog(TREE, VERIFIERS)
    one = authentic(log, LOG_VIEW.checkpoint(9, cosigners=[W]))
    other = authentic(log, FORKED.checkpoint(12, cosigners=[W]))
    found = compare_heads(one, other)
    assert isinstance(found, Unproven)
    made = judge(found, Prefix(FORKED.root(9), FORKED.proof(9, 12)))
    assert made == fork_of(LOG_VIEW, FORKED)


def test_the_witness_s_configuration(tmp_path: Path) -> None:
    path, _ = set_up(tmp_path / "w", ())
    vkey = str(log_signer(KEY).vkey)
    assert admin.add_log(path, [vkey], None, cosign=False, origin=TREE) == TREE
    assert admin.add_log(path, [vkey], None, cosign=False) == KEY  # the same key's other log
    loaded = load(path)
    assert loaded.logs[TREE].origin == TREE
    assert [each.vkey.name for each in loaded.logs[TREE].verifiers] == [KEY]
    with pytest.raises(ConfigError, match="is configured already"):
        admin.add_log(path, [vkey], None, cosign=False, origin=TREE)
    admin.remove_log(path, TREE)
    assert list(load(path).logs) == [KEY]
    with pytest.raises(ConfigError, match="origin"):
        admin.add_log(path, [vkey], None, cosign=False, origin="two\nlines")
