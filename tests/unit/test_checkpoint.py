"""C2SP tlog-checkpoint: the spec's own examples, each of its rules, and hostile texts."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_checkpoint,
    parse_signed_checkpoint,
    sign_checkpoint,
)
from muniment.tlog.cosignature import verifier_for
from muniment.tlog.encoding import MAX_SIZE, FormatError
from muniment.tlog.note import MAX_SIGNATURES, SignatureLine, UnverifiedNote, verify_note
from signing import NOW, ORIGIN, log_mldsa44, log_signer, signed, witness

ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
EXAMPLE = f"""example.com/behind-the-sofa
20852163
{ROOT}

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501 - the spec's example
COSIGNED = (
    EXAMPLE
    + """— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 - the spec's example
)


def text(*lines: str) -> str:
    return "".join(line + "\n" for line in lines)


@pytest.mark.parametrize("example", [EXAMPLE, COSIGNED])
def test_examples(example):
    """tlog-checkpoint's first example, and tlog-cosignature's."""
    parsed = parse_signed_checkpoint(example.encode())
    root = base64.b64decode(ROOT)
    assert parsed.checkpoint == Checkpoint("example.com/behind-the-sofa", 20852163, root)
    assert len(parsed.note.signatures) == example.count("\u2014")
    assert parsed.encode() == example.encode()


class TestNoteText:
    """tlog-checkpoint "Note text"."""

    def test_at_least_three_lines(self):
        assert parse_checkpoint(text("o", "0", ROOT)).size == 0
        for lines in ((), ("o",), ("o", "0")):
            with pytest.raises(FormatError, match=r"fewer than three|newline"):
                parse_checkpoint(text(*lines))

    def test_origin_must_be_non_empty(self):
        with pytest.raises(FormatError, match="empty origin"):
            parse_checkpoint(text("", "0", ROOT))

    @pytest.mark.parametrize("origin", ["a b", "a+b", "https://x/?y=z", "日本", "\u2028", " ", "—"])
    def test_clients_must_not_assume_a_form_of_the_origin(self, origin):
        """Schema-less URLs are recommended; clients MUST NOT assume them."""
        assert parse_checkpoint(text(origin, "1", ROOT)).origin == origin

    @pytest.mark.parametrize("size", ["0", "1", "10", str(MAX_SIZE)])
    def test_size(self, size):
        assert parse_checkpoint(text("o", size, ROOT)).size == int(size)

    @pytest.mark.parametrize(
        "size",
        ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "1.0", "0x1", "١", "²", str(MAX_SIZE + 1)],
    )
    def test_size_is_ascii_decimal_without_leading_zeroes(self, size):
        with pytest.raises(FormatError, match="tree size"):
            parse_checkpoint(text("o", size, ROOT))

    @pytest.mark.parametrize(
        "root",
        [
            "",
            ROOT[:-1],
            ROOT + "=",
            ROOT[:-2] + "3=",
            ROOT[:-4],
            "A" * 44,
            " " + ROOT,
            ROOT.replace("/", "_"),
        ],
    )
    def test_root_is_base64_of_a_hash(self, root):
        with pytest.raises(FormatError, match="root hash"):
            parse_checkpoint(text("o", "1", root))

    def test_extension_lines_are_opaque_and_must_be_non_empty(self):
        checkpoint = parse_checkpoint(text("o", "1", ROOT, "ext", " +"))
        assert checkpoint.extensions == ("ext", " +")
        assert checkpoint.text == text("o", "1", ROOT, "ext", " +")
        for lines in (("",), ("x", ""), ("", "x")):
            with pytest.raises(FormatError, match="empty extension"):
                parse_checkpoint(text("o", "1", ROOT, *lines))

    @pytest.mark.parametrize(
        "members",
        [
            ("", 0, bytes(32)),
            ("a\nb", 0, bytes(32)),
            ("\x00", 0, bytes(32)),
            ("\ud800", 0, bytes(32)),
            ("o", -1, bytes(32)),
            ("o", MAX_SIZE + 1, bytes(32)),
            ("o", 0, bytes(31)),
            ("o", 0, bytes(32), ("",)),
            ("o", 0, bytes(32), ("a\nb",)),
        ],
    )
    def test_no_checkpoint_that_could_not_be_written(self, members):
        with pytest.raises(FormatError):
            Checkpoint(*members)


class TestSignatures:
    """tlog-checkpoint "Signatures"."""

    def test_unknown_signatures_must_be_ignored(self):
        """According to the note specification, which enables key rotation and cosigning."""
        checkpoint = signed(log_signer(), witness("w"))
        assert verify_note(checkpoint.note, [verifier_for(log_signer().vkey)]).signatures

    def test_mldsa44_does_not_sign_extension_lines(self):
        """The ML-DSA-44 format does not sign them: they prove nothing."""
        plain = Checkpoint(ORIGIN, 7, bytes(32))
        line = log_mldsa44().sign(plain.text, NOW)
        extended = Checkpoint(ORIGIN, 7, bytes(32), ("trust me",))
        assert verify_note(
            UnverifiedNote(extended.text, (line,)), [verifier_for(log_mldsa44().vkey)]
        ).signatures

    def test_both_keys_of_a_log(self):
        signers = (log_signer(), log_mldsa44())
        checkpoint = signed(*signers)
        found = verify_note(checkpoint.note, [verifier_for(s.vkey) for s in signers])
        assert found.signatures == ((log_signer().vkey, None), (log_mldsa44().vkey, NOW))
        assert parse_signed_checkpoint(checkpoint.encode()) == checkpoint

    def test_note_of_another_checkpoint(self):
        note = signed(size=7).note
        with pytest.raises(ValueError, match="not that of the checkpoint"):
            SignedCheckpoint(signed(size=8).checkpoint, note)

    def test_with_signatures(self):
        checkpoint = signed()
        line = witness("w").sign(checkpoint.note.text, NOW)
        more = checkpoint.with_signatures([line, line])
        assert more == signed(log_signer(), witness("w"))
        many = [SignatureLine("n", number, b"s") for number in range(MAX_SIGNATURES)]
        with pytest.raises(FormatError, match="more than"):
            checkpoint.with_signatures(many)

    def test_no_signer(self):
        with pytest.raises(ValueError, match="signer"):
            sign_checkpoint(Checkpoint("o", 0, bytes(32)), [], NOW)


LINES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
CHECKPOINTS = st.builds(
    Checkpoint,
    LINES,
    st.integers(0, MAX_SIZE),
    st.binary(max_size=9).map(lambda data: hashlib.sha256(data).digest()),
    st.lists(LINES, max_size=3).map(tuple),
)


@given(CHECKPOINTS)
def test_checkpoints_come_back(checkpoint):
    assert parse_checkpoint(checkpoint.text) == checkpoint
