"""C2SP tlog-proof: the spec's example shape, each of its rules, and verification."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from msgspec.structs import replace

from muniment.tlog.checkpoint import Checkpoint, sign_checkpoint
from muniment.tlog.encoding import MAX_SIZE, FormatError, VerificationError
from muniment.tlog.policy import Policy, PolicyGroup, PolicyLog, PolicyWitness
from muniment.tlog.tlogproof import (
    EXTENSION,
    HEADER,
    MAX_EXTRA,
    MAX_TLOG_PROOF_SIZE,
    TlogProof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from signing import (
    NOW,
    ORIGIN,
    log_mldsa44,
    log_signer,
    mutations,
    signed,
    witness,
    witness_mldsa44,
)

SIG = "AAAAAQI="
# The spec elides the signatures.
EXAMPLE = f"""c2sp.org/tlog-proof@v1
extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6kYXJ3aW4tYXJ
index 73894
gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=
RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=
AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=

example.com/fancylog
109482
sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=

— example.com/fancylog {SIG}
— witness1.example {SIG}
— witness2.example {SIG}
— witness3.example {SIG}
"""
HASH = base64.b64encode(bytes(32)).decode()
NOTE = signed().encode().decode()
WITNESSES = [witness("a"), witness("b"), witness_mldsa44("c")]
POLICY = Policy(
    (PolicyLog(log_signer().vkey), PolicyLog(log_mldsa44().vkey)),
    tuple(PolicyWitness(w.vkey.name, w.vkey) for w in WITNESSES),
    (PolicyGroup("two", 2, ("a", "b", "c")),),
    "two",
)
ENTRIES = [b"one", b"two", b"three"]


def leaf(entry: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


ROOT = node(node(leaf(b"one"), leaf(b"two")), leaf(b"three"))
PROOFS = [
    (leaf(b"two"), leaf(b"three")),
    (leaf(b"one"), leaf(b"three")),
    (node(leaf(b"one"), leaf(b"two")),),
]


def proof(index: int, *signers, extra: bytes | None = None, root: bytes = ROOT) -> TlogProof:
    checkpoint = sign_checkpoint(
        Checkpoint(ORIGIN, 3, root), signers or (log_signer(), *WITNESSES[:2]), NOW
    )
    return TlogProof(index, PROOFS[index], checkpoint, extra)


class TestFormat:
    """tlog-proof "Format"."""

    def test_example(self):
        parsed = parse_tlog_proof(EXAMPLE.encode())
        assert parsed.index == 73894
        assert len(parsed.proof) == 5
        assert parsed.proof[0] == base64.b64decode(EXAMPLE.split("\n")[3])
        assert parsed.extra.startswith(b"age-v1.2.1-darwin-arm64.tar.gz")
        assert parsed.checkpoint.checkpoint.origin == "example.com/fancylog"
        assert len(parsed.checkpoint.note.signatures) == 4
        assert parsed.encode() == EXAMPLE.encode()
        assert EXTENSION == ".tlog-proof"

    @pytest.mark.parametrize(
        "line", ["", "c2sp.org/tlog-proof@v2", HEADER + " ", " " + HEADER, "\ufeff" + HEADER]
    )
    def test_first_line_must_be_the_header(self, line):
        with pytest.raises(FormatError):
            parse_tlog_proof(EXAMPLE.replace(HEADER, line).encode())

    def test_extra_line_may_be_omitted(self):
        assert parse_tlog_proof(f"{HEADER}\nindex 0\n\n{NOTE}".encode()).extra is None
        assert b"extra" not in proof(0).encode()

    @pytest.mark.parametrize(
        "line",
        ["extra", "extra ", "extra  AAAA", "extra AAA", "extra AAB=", "Extra AAAA", "extra AAAA "],
    )
    def test_extra_line_is_base64(self, line):
        """If no extra data is present the line is omitted, so an empty one is no spelling of it."""
        with pytest.raises(FormatError):
            parse_tlog_proof(f"{HEADER}\n{line}\nindex 0\n\n{NOTE}".encode())

    def test_extra_comes_once_and_before_the_index(self):
        for lines in ("extra AAAA\nextra AAAA\nindex 0", "index 0\nextra AAAA"):
            with pytest.raises(FormatError):
                parse_tlog_proof(f"{HEADER}\n{lines}\n\n{NOTE}".encode())

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "index",
            "index ",
            "index 01",
            "index 00",
            "index -1",
            "index +1",
            "index  1",
            "index 1 ",
            "Index 1",
            "index ١",
            f"index {MAX_SIZE + 1}",
            HASH,
        ],
    )
    def test_next_line_must_be_the_index(self, line):
        """ASCII decimal with no leading zeroes unless 0."""
        with pytest.raises(FormatError):
            parse_tlog_proof(f"{HEADER}\n{line}\n{HASH}\n\n{NOTE}".encode())

    def test_header_only(self):
        with pytest.raises(FormatError, match="no index"):
            parse_tlog_proof(f"{HEADER}\n\n{NOTE}".encode())

    @pytest.mark.parametrize("line", ["x", HASH[:-1], HASH[:-2] + "B=", HASH + HASH, "AAAA"])
    def test_proof_lines_are_hashes(self, line):
        with pytest.raises(FormatError, match="proof line 2"):
            parse_tlog_proof(f"{HEADER}\nindex 0\n{HASH}\n{line}\n\n{NOTE}".encode())

    def test_an_empty_line_and_the_checkpoint_follow(self):
        for rest in (
            "",
            "\n",
            NOTE,
            f"\n\n{NOTE}",
            f"\n{NOTE}\n",
            f"\n{NOTE[:-1]}",
            f"\n{NOTE[3:].partition(chr(10))[2]}",
        ):
            with pytest.raises(FormatError):
                parse_tlog_proof(
                    f"{HEADER}\nindex 0\n{rest}".encode()[: -1 if rest == "" else None]
                )

    def test_limits(self):
        most = TlogProof(MAX_SIZE, (bytes(32),) * 63, signed(), bytes(MAX_EXTRA))
        assert parse_tlog_proof(most.encode()) == most
        assert len(most.encode()) < MAX_TLOG_PROOF_SIZE
        with pytest.raises(FormatError, match="more than 63"):
            parse_tlog_proof(f"{HEADER}\nindex 0\n{(HASH + chr(10)) * 64}\n{NOTE}".encode())
        for extra in (bytes(MAX_EXTRA + 1), bytes(MAX_EXTRA * 2)):
            line = base64.b64encode(extra).decode()
            with pytest.raises(FormatError, match=r"extra data|limits"):
                parse_tlog_proof(f"{HEADER}\nextra {line}\nindex 0\n\n{NOTE}".encode())

    @pytest.mark.parametrize(
        "change",
        [
            {"index": -1},
            {"index": MAX_SIZE + 1},
            {"proof": (bytes(32),) * 64},
            {"proof": (b"x",)},
            {"extra": b""},
            {"extra": bytes(MAX_EXTRA + 1)},
        ],
    )
    def test_no_proof_that_could_not_be_written(self, change):
        with pytest.raises(FormatError):
            replace(proof(0), **change)


class TestVerify:
    """tlog-proof "Verifying a tlog proof"."""

    @pytest.mark.parametrize("index", [0, 1, 2])
    @pytest.mark.parametrize("extra", [None, b"opaque"])
    def test_holds(self, index, extra):
        parsed = parse_tlog_proof(proof(index, extra=extra).encode())
        result = verify_tlog_proof(parsed, ENTRIES[index], POLICY)
        assert (result.origin, result.size, result.root) == (ORIGIN, 3, ROOT)
        assert result.cosigners == (("a", NOW), ("b", NOW))

    def test_post_quantum_only(self):
        parsed = proof(1, log_mldsa44(), *WITNESSES[1:])
        assert verify_tlog_proof(parsed, b"two", POLICY).log_keys == (log_mldsa44().vkey,)

    def test_step_2_log_signature(self):
        """The origin is acceptable, and the log's key for that origin has signed."""
        with pytest.raises(VerificationError, match="not signed by a key of log"):
            verify_tlog_proof(proof(0, *WITNESSES), b"one", POLICY)
        other = sign_checkpoint(
            Checkpoint("other", 3, ROOT), [log_signer("other"), *WITNESSES], NOW
        )
        with pytest.raises(VerificationError, match="does not list"):
            verify_tlog_proof(replace(proof(0), checkpoint=other), b"one", POLICY)

    def test_step_3_quorum(self):
        with pytest.raises(VerificationError, match="no quorum"):
            verify_tlog_proof(proof(0, log_signer(), WITNESSES[0]), b"one", POLICY)

    def test_step_4_inclusion(self):
        good = proof(0)
        for bad, entry in (
            (good, b"two"),
            (replace(good, index=1), b"one"),
            (replace(good, index=3), b"one"),
            (replace(good, index=MAX_SIZE), b"one"),
            (replace(good, proof=good.proof[::-1]), b"one"),
            (replace(good, proof=good.proof[:1]), b"one"),
            (replace(good, proof=(*good.proof, bytes(32))), b"one"),
            (replace(good, proof=()), b"one"),
            (proof(0, root=bytes(32)), b"one"),
        ):
            with pytest.raises(VerificationError):
                verify_tlog_proof(bad, entry, POLICY)

    def test_timestamps_are_ignored(self):
        """After verification the timestamp value is left to the application."""
        signers = [log_signer(), *WITNESSES[:2]]
        for now in (1, 2**63 - 1):
            checkpoint = sign_checkpoint(Checkpoint(ORIGIN, 3, ROOT), signers, now)
            result = verify_tlog_proof(replace(proof(0), checkpoint=checkpoint), b"one", POLICY)
            assert result.cosigners == (("a", now), ("b", now))


@settings(max_examples=100)
@given(mutations([proof(1).encode()]))
def test_no_changed_proof_says_something_else(data):
    try:
        result = verify_tlog_proof(parse_tlog_proof(data), b"two", POLICY)
    except (FormatError, VerificationError):
        return
    assert (result.origin, result.size, result.root) == (ORIGIN, 3, ROOT)
    assert parse_tlog_proof(data).index == 1
