"""C2SP tlog-witness bodies: the spec's own examples, each rule on their form, hostile bytes."""

import base64
import hashlib

import pytest

from muniment.tlog.encoding import MAX_SIZE, FormatError
from muniment.tlog.note import MAX_SIGNATURES, SignatureLine
from muniment.tlog.witnesswire import (
    MAX_PROOF_LINES,
    SIZE_CONTENT_TYPE,
    AddCheckpoint,
    SignSubtree,
    format_cosignatures,
    format_size,
    format_subtree_signature,
    origin_hash,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_sign_subtree,
    parse_size,
)
from signing import log_mldsa44, log_signer, signed, witness, witness_mldsa44

ADD = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
"""  # noqa: E501 - the spec's example
# The spec elides the signature of this one.
SUBTREE = """subtree 8 13
mbsQCg+dEIMGlpqeGgk94JutQwKKS2Lo5IuDhKmDjiU=
CD82D2LDm0phY0+xKbHyZfq3Hw21lVkuV7Zis5EFg0k=
h/ghL5nyaXTIBAklqDnisM+SFdbA3izoGZ5oRYMZzc0=
8qtnAAU9sTKQx/zt3E4v8Jt2a9IMQUf0QUawvePF9y0=
KuO5BNOmginG34Lm5G3e2GuiWliGo3K0ebzGpvI0fEg=

example.com/behind-the-sofa
14
/CcKVZM9n65aH7jLaIZuUB4/MSlEFQ4+ldwUC21rDHM=

— witness.example/w1 LijDAFSpKvDUj+ZtaJ4lUVcnvnooXQ==
"""
REPLY = """— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
— witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
— witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
"""  # noqa: E501 - the spec's example
HASH = base64.b64encode(bytes(32)).decode()
NOTE = signed().encode().decode()


class TestAddCheckpoint:
    """tlog-witness "add-checkpoint": the request body."""

    def test_example(self):
        body = parse_add_checkpoint(ADD.encode())
        assert (body.old_size, len(body.proof)) == (20852014, 4)
        assert body.proof[0] == base64.b64decode(ADD.split("\n")[1])
        assert body.checkpoint.checkpoint.size == 20852163
        assert len(body.checkpoint.note.signatures) == 2
        assert body.encode() == ADD.encode()

    def test_sequence_of_lines(self):
        """MUST be: old size line, proof lines, an empty line, the checkpoint."""
        assert parse_add_checkpoint(f"old 0\n\n{NOTE}".encode()).proof == ()
        for bad in (
            "",
            "old 0\n",
            "old 0\n\n",
            f"\n{NOTE}",
            f"\n\n{NOTE}",
            NOTE,
            f"old 0\n{NOTE}",
            f"old 0\n\n\n{NOTE}",
            f"{HASH}\nold 0\n\n{NOTE}",
            f"old 0\nold 0\n\n{NOTE}",
            f"old 0\n\n{NOTE}\n",
        ):
            with pytest.raises(FormatError):
                parse_add_checkpoint(bad.encode())

    def test_each_line_must_terminate_in_a_newline(self):
        with pytest.raises(FormatError):
            parse_add_checkpoint(ADD.encode()[:-1])
        with pytest.raises(FormatError):
            parse_add_checkpoint(ADD.replace("\n", "\r\n").encode())

    @pytest.mark.parametrize(
        "line",
        [
            "old",
            "old ",
            "old  1",
            "old 01",
            "old 00",
            "old +1",
            "old -1",
            "old 1 ",
            "old 1_0",
            "Old 1",
            "old\t1",
            "size 1",
            "old 1.0",
            "old ١",
            f"old {MAX_SIZE + 1}",
        ],
    )
    def test_old_size_line(self, line):
        """`old`, one space, ASCII decimal with no leading zeroes; zero MUST be `0`."""
        with pytest.raises(FormatError, match=r"old size|control character"):
            parse_add_checkpoint(f"{line}\n\n{NOTE}".encode())

    @pytest.mark.parametrize(
        "line", ["x", HASH[:-1], HASH + "=", HASH[:-2] + "B=", f" {HASH}", HASH[:40]]
    )
    def test_each_proof_line_must_encode_a_hash(self, line):
        with pytest.raises(FormatError, match="proof line 2"):
            parse_add_checkpoint(f"old 1\n{HASH}\n{line}\n\n{NOTE}".encode())

    def test_must_not_send_more_than_63_proof_lines(self):
        checkpoint = signed()
        most = AddCheckpoint(1, (bytes(32),) * MAX_PROOF_LINES, checkpoint)
        assert MAX_PROOF_LINES == 63
        assert parse_add_checkpoint(most.encode()) == most
        with pytest.raises(FormatError, match="more than 63"):
            parse_add_checkpoint(f"old 1\n{(HASH + chr(10)) * 64}\n{NOTE}".encode())
        with pytest.raises(ValueError, match="more than 63"):
            AddCheckpoint(1, (bytes(32),) * 64, checkpoint).encode()

    def test_sizes_and_proofs_are_for_the_witness_to_judge(self):
        """They have statuses of their own (400, 409, 422), in an order."""
        body = parse_add_checkpoint(f"old 99\n{HASH}\n\n{NOTE}".encode())
        assert body.old_size > body.checkpoint.checkpoint.size

    def test_checkpoint_may_include_multiple_signatures(self):
        checkpoint = signed(log_signer(), log_mldsa44(), witness("w"))
        body = AddCheckpoint(0, (), checkpoint)
        assert parse_add_checkpoint(body.encode()) == body


class TestSignSubtree:
    """tlog-witness "sign-subtree": the request body."""

    def test_example(self):
        body = parse_sign_subtree(SUBTREE.encode())
        assert (body.start, body.end, len(body.proof)) == (8, 13, 4)
        assert body.hash == base64.b64decode(SUBTREE.split("\n")[1])
        assert body.reference.checkpoint.size == 14
        assert body.encode() == SUBTREE.encode()

    @pytest.mark.parametrize(
        "line",
        [
            "subtree",
            "subtree 1",
            "subtree 1 ",
            "subtree  1 2",
            "subtree 1  2",
            "subtree 1 2 3",
            "subtree 01 2",
            "subtree 1 02",
            "subtree 1\t2",
            "old 1",
            f"subtree 0 {MAX_SIZE + 1}",
            "subtree -1 2",
            " subtree 1 2",
        ],
    )
    def test_range_line(self, line):
        """`subtree`, a space, start, a space, end: ASCII decimals with no leading zeroes."""
        with pytest.raises(FormatError, match="subtree"):
            parse_sign_subtree(f"{line}\n{HASH}\n\n{NOTE}".encode())

    def test_hash_line(self):
        with pytest.raises(FormatError, match="no subtree hash line"):
            parse_sign_subtree(f"subtree 0 1\n\n{NOTE}".encode())
        with pytest.raises(FormatError, match="subtree hash line"):
            parse_sign_subtree(f"subtree 0 1\nx\n\n{NOTE}".encode())
        assert parse_sign_subtree(f"subtree 0 1\n{HASH}\n\n{NOTE}".encode()).proof == ()

    def test_must_not_send_more_than_63_proof_lines(self):
        most = SignSubtree(0, 1, bytes(32), (bytes(32),) * 63, signed())
        assert parse_sign_subtree(most.encode()) == most
        with pytest.raises(FormatError, match="more than 63"):
            parse_sign_subtree(f"subtree 0 1\n{(HASH + chr(10)) * 65}\n{NOTE}".encode())

    def test_the_reference_is_a_whole_checkpoint(self):
        with pytest.raises(FormatError):
            parse_sign_subtree(f"subtree 0 1\n{HASH}\n\n".encode())


class TestResponses:
    def test_example(self):
        lines = parse_cosignatures(REPLY.encode())
        assert [line.name for line in lines] == [f"witness.example/w{n}" for n in (1, 1, 2)]
        assert format_cosignatures(lines) == REPLY.encode()

    def test_of_our_cosigners(self):
        text = signed().note.text
        lines = tuple(w.sign(text, 1) for w in (witness("w"), witness_mldsa44("w")))
        assert parse_cosignatures(format_cosignatures(lines)) == lines

    @pytest.mark.parametrize(
        "body", ["", "\n", REPLY[:-1], REPLY + "\n", "\n" + REPLY, REPLY[1:], "x\n"]
    )
    def test_one_or_more_signature_lines(self, body):
        """Each starting with U+2014 and ending with a newline."""
        with pytest.raises(FormatError):
            parse_cosignatures(body.encode())

    def test_subtree_signature(self):
        """tlog-witness v1.1.0, sign-subtree: the signature in base64 and a newline, no more."""
        assert format_subtree_signature(b"signature") == base64.b64encode(b"signature") + b"\n"

    def test_bounds(self):
        line = SignatureLine("n", 1, b"s")
        assert len(parse_cosignatures(format_cosignatures([line] * MAX_SIGNATURES))) == 64
        with pytest.raises(FormatError, match="more than 64"):
            parse_cosignatures(line.line.encode() * 65)
        for count in (0, 65):
            with pytest.raises(ValueError, match=f"{count} cosignatures"):
                format_cosignatures([line] * count)

    def test_size(self):
        """409: MUST be the decimal size and a newline, content type text/x.tlog.size."""
        assert SIZE_CONTENT_TYPE == "text/x.tlog.size"
        assert format_size(20852014) == b"20852014\n"
        for size in (0, 1, MAX_SIZE):
            assert parse_size(format_size(size)) == size
        for bad in (
            b"",
            b"\n",
            b"1",
            b"01\n",
            b"1\n\n",
            b"1\n2\n",
            b" 1\n",
            b"-1\n",
            b"9" * 40 + b"\n",
        ):
            with pytest.raises(FormatError, match="tree size"):
                parse_size(bad)

    def test_origin_hash(self):
        """Monitoring: the SHA-256 hash of the origin, hex encoded, in lower case."""
        assert origin_hash("é") == hashlib.sha256("é".encode()).hexdigest()
        assert origin_hash("x").islower()
