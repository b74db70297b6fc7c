"""C2SP tlog-cosignature against a transcription of its structs, and rule by rule."""

import hashlib
from dataclasses import replace

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.tlog.checkpoint import Checkpoint, parse_signed_checkpoint
from muniment.tlog.cosignature import (
    MAX_TIMESTAMP,
    Ed25519CosignatureVerifier,
    Ed25519Cosigner,
    MLDSA44Cosigner,
    MLDSA44Verifier,
    cosigned_message,
    signer_for,
    verifier_for,
)
from muniment.tlog.encoding import FormatError, MunimentError, VerificationError
from muniment.tlog.keys.keyfile import public_bytes
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    Ed25519Verifier,
    Signer,
    Verifier,
    VKey,
    verify_note,
)
from signing import (
    NOW,
    ORIGIN,
    ed25519,
    log_mldsa44,
    log_signer,
    mldsa44,
    signed,
    witness,
    witness_mldsa44,
)

HASH = hashlib.sha256(b"root").digest()
CHECKPOINT = Checkpoint(ORIGIN, 20852163, HASH, ("extension",))
TEXT = CHECKPOINT.text
W4, W6 = witness("w.example/4"), witness_mldsa44("w.example/6")
COSIGNERS = [W4, W6]
VERIFIER = MLDSA44Verifier(W6.vkey)
each_cosigner = pytest.mark.parametrize("cosigner", COSIGNERS, ids=["ed25519", "mldsa44"])


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def spec_struct(name: str, timestamp: int, origin: str, start: int, end: int, root: bytes) -> bytes:
    """The cosigned_message struct, written down from the spec."""
    message = b"subtree/v1\n\x00"
    message += len(name.encode()).to_bytes(1, "big") + name.encode()
    message += u64(timestamp)
    message += len(origin.encode()).to_bytes(1, "big") + origin.encode()
    return message + u64(start) + u64(end) + root


def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    kind = Ed25519PublicKey if len(public) == 32 else MLDSA44PublicKey
    try:
        kind.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


class TestFormat:
    """tlog-cosignature "Format"."""

    @pytest.mark.parametrize(("cosigner", "algorithm", "size"), [(W4, 4, 32), (W6, 6, 1312)])
    def test_key_id_must_be_computed_as(self, cosigner, algorithm, size):
        """SHA-256(<name> || "\\n" || type || public key)[:4], with the vkey of that type."""
        vkey = cosigner.vkey
        assert (vkey.algorithm, len(vkey.public)) == (algorithm, size)
        digest = hashlib.sha256(
            vkey.name.encode() + b"\n" + bytes([algorithm]) + vkey.public
        ).digest()
        assert cosigner.sign(TEXT, NOW).key_id == int.from_bytes(digest[:4], "big")

    @pytest.mark.parametrize(("cosigner", "size"), [(W4, 8 + 64), (W6, 8 + 2420)])
    def test_signature_must_be_a_timestamped_signature(self, cosigner, size):
        line = cosigner.sign(TEXT, NOW)
        assert len(line.signature) == size
        assert line.signature[:8] == u64(NOW)
        verifier = verifier_for(cosigner.vkey)
        assert verifier.verify(TEXT, line.signature) == NOW
        for wrong in (b"", line.signature[:-1], line.signature + b"\0", line.signature[8:]):
            with pytest.raises(VerificationError, match="bytes, not"):
                verifier.verify(TEXT, wrong)

    @each_cosigner
    def test_timestamp_must_not_exceed_2_63_minus_1(self, cosigner):
        verifier = verifier_for(cosigner.vkey)
        assert verifier.verify(TEXT, cosigner.sign(TEXT, MAX_TIMESTAMP).signature) == MAX_TIMESTAMP
        for wrong in (2**63, 2**64 - 1, -1):
            with pytest.raises(FormatError, match="timestamp"):
                cosigner.sign(TEXT, wrong)
        line = cosigner.sign(TEXT, NOW)
        with pytest.raises(VerificationError, match="2\\^63-1"):
            verifier.verify(TEXT, u64(2**63) + line.signature[8:])

    @each_cosigner
    def test_timestamp_is_signed(self, cosigner):
        line = cosigner.sign(TEXT, NOW)
        with pytest.raises(VerificationError, match="does not verify"):
            verifier_for(cosigner.vkey).verify(TEXT, u64(NOW + 1) + line.signature[8:])

    @each_cosigner
    @settings(max_examples=30)
    @given(data=st.data())
    def test_each_changed_byte_is_noticed(self, cosigner, data):
        signature = cosigner.sign(TEXT, NOW).signature
        at = data.draw(st.integers(0, len(signature) - 1))
        flip = data.draw(st.integers(1, 255))
        changed = signature[:at] + bytes([signature[at] ^ flip]) + signature[at + 1 :]
        with pytest.raises(VerificationError):
            verifier_for(cosigner.vkey).verify(TEXT, changed)

    @each_cosigner
    def test_only_checkpoints_are_cosigned(self, cosigner):
        """A cosignature is a note signature applied to a checkpoint."""
        for text in ("text\n", "", "o\n01\nx\n", f"cosignature/v1\ntime 1\n{TEXT}"):
            with pytest.raises(FormatError):
                cosigner.sign(text, NOW)

    def test_cosigned_checkpoint_comes_back(self):
        checkpoint = signed(log_signer(), log_mldsa44(), W4, W6)
        parsed = parse_signed_checkpoint(checkpoint.encode())
        keys = [s.vkey for s in (log_signer(), log_mldsa44(), W4, W6)]
        found = verify_note(parsed.note, [verifier_for(vkey) for vkey in keys])
        assert found.signatures == tuple(zip(keys, (None, NOW, NOW, NOW), strict=True))


class TestEd25519:
    """tlog-cosignature "Ed25519 signed message"."""

    @pytest.mark.parametrize("now", [0, 1679315147, MAX_TIMESTAMP])
    def test_message_must_be_two_lines_and_the_whole_note_text(self, now):
        """Header line, `time` and the decimal timestamp, then the text with its extensions."""
        line = W4.sign(TEXT, now)
        message = f"cosignature/v1\ntime {now}\n".encode() + TEXT.encode()
        assert holds(W4.vkey.public, line.signature[8:], message)

    def test_extension_lines_must_be_included(self):
        line = W4.sign(TEXT, NOW)
        with pytest.raises(VerificationError):
            verifier_for(W4.vkey).verify(replace(CHECKPOINT, extensions=()).text, line.signature)

    def test_not_a_plain_signature(self):
        """The header line provides domain separation from type 0x01 with the same key."""
        private = ed25519("shared")
        cosigner = Ed25519Cosigner("n", private)
        plain = Ed25519Verifier(VKey.of("n", ED25519, public_bytes(private)))
        with pytest.raises(VerificationError):
            plain.verify(TEXT, cosigner.sign(TEXT, NOW).signature[8:])


class TestMLDSA44:
    """tlog-cosignature "ML-DSA-44 signed message"."""

    @pytest.mark.parametrize("now", [0, NOW, MAX_TIMESTAMP])
    def test_message_must_be_a_cosigned_message(self, now):
        """For a checkpoint start MUST be zero and end is the tree size."""
        line = W6.sign(TEXT, now)
        message = spec_struct(W6.vkey.name, now, ORIGIN, 0, CHECKPOINT.size, HASH)
        assert holds(W6.vkey.public, line.signature[8:], message)
        assert not holds(W6.vkey.public, line.signature[8:], TEXT.encode())

    def test_the_log_signs_with_its_key_name_as_cosigner(self):
        line = log_mldsa44().sign(TEXT, NOW)
        message = spec_struct(ORIGIN, NOW, ORIGIN, 0, CHECKPOINT.size, HASH)
        assert holds(log_mldsa44().vkey.public, line.signature[8:], message)

    def test_empty_tree(self):
        text = Checkpoint(ORIGIN, 0, hashlib.sha256().digest()).text
        line = W6.sign(text, NOW)
        assert verifier_for(W6.vkey).verify(text, line.signature) == NOW

    def test_cosigner_name_is_signed(self):
        """It commits to the name: the same key under another name does not verify."""
        private = mldsa44("shared")
        one, two = MLDSA44Cosigner("one", private), MLDSA44Cosigner("two", private)
        with pytest.raises(VerificationError):
            verifier_for(two.vkey).verify(TEXT, one.sign(TEXT, NOW).signature)

    @settings(max_examples=60)
    @given(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63),
        st.integers(0, MAX_TIMESTAMP),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=63),
        st.integers(0, 2**63 - 1),
        st.binary(min_size=32, max_size=32),
    )
    def test_struct(self, name, timestamp, origin, end, root):
        members = (name, timestamp, origin, 0, end, root)
        assert cosigned_message(*members) == spec_struct(*members)

    def test_names_take_1_to_255_bytes(self):
        """opaque cosigner_name<1..2^8-1> and log_origin<1..2^8-1>."""
        for good in ("n", "n" * 255, "ü" * 127):
            assert cosigned_message(good, 0, good, 0, 1, HASH)
            assert MLDSA44Cosigner(good, mldsa44("k"))
        for bad in ("", "n" * 256, "ü" * 128):
            with pytest.raises(FormatError, match="cosigner name"):
                cosigned_message(bad, 0, "o", 0, 1, HASH)
            with pytest.raises(FormatError, match="log origin"):
                cosigned_message("n", 0, bad, 0, 1, HASH)
            with pytest.raises(FormatError):
                MLDSA44Cosigner(bad, mldsa44("k"))
        text = Checkpoint("o" * 256, 1, HASH).text
        with pytest.raises(FormatError, match="log origin"):
            W6.sign(text, NOW)
        with pytest.raises(VerificationError, match="log origin"):
            verifier_for(W6.vkey).verify(text, W6.sign(TEXT, NOW).signature)

    def test_timestamp_must_be_zero_if_start_is_not(self):
        assert cosigned_message("n", 0, "o", 8, 13, HASH)
        assert cosigned_message("n", NOW, "o", 0, 13, HASH)
        with pytest.raises(FormatError, match="timestamp"):
            cosigned_message("n", 1, "o", 8, 13, HASH)

    @pytest.mark.parametrize(("start", "end"), [(-1, 0), (2, 1), (0, 2**63), (0, -1)])
    def test_ranges(self, start, end):
        with pytest.raises(FormatError, match="range"):
            cosigned_message("n", 0, "o", start, end, HASH)

    def test_hash_has_32_bytes(self):
        with pytest.raises(FormatError, match="31 bytes"):
            cosigned_message("n", 0, "o", 0, 1, bytes(31))

    def test_text_that_is_no_checkpoint(self):
        with pytest.raises(VerificationError, match="fewer than three"):
            verifier_for(W6.vkey).verify("text\n", W6.sign(TEXT, NOW).signature)


class TestSubtrees:
    def test_sign_and_verify(self):
        """tlog-witness "sign-subtree": the signature alone, of the struct with timestamp zero."""
        signature = W6.sign_subtree(ORIGIN, 8, 13, HASH)
        message = spec_struct(W6.vkey.name, 0, ORIGIN, 8, 13, HASH)
        assert holds(W6.vkey.public, signature, message)
        VERIFIER.verify_subtree(ORIGIN, 8, 13, HASH, signature)

    @pytest.mark.parametrize(
        "members",
        [
            ("x", 8, 13, HASH),
            (ORIGIN, 9, 13, HASH),
            (ORIGIN, 8, 14, HASH),
            (ORIGIN, 8, 13, bytes(32)),
        ],
    )
    def test_other_subtrees_do_not_verify(self, members):
        origin, start, end, root = members
        signature = W6.sign_subtree(ORIGIN, 8, 13, HASH)
        with pytest.raises(VerificationError):
            VERIFIER.verify_subtree(origin, start, end, root, signature)

    def test_prefix_is_the_checkpoint(self):
        """A subtree that starts at zero is the tree, at no stated time."""
        signature = W6.sign_subtree(ORIGIN, 0, CHECKPOINT.size, HASH)
        assert VERIFIER.verify(TEXT, bytes(8) + signature) == 0
        with pytest.raises(VerificationError):
            VERIFIER.verify(TEXT, u64(NOW) + signature)

    def test_a_time_is_not_of_a_subtree(self):
        line = W6.sign(TEXT, NOW)
        with pytest.raises(VerificationError):
            VERIFIER.verify_subtree(ORIGIN, 0, CHECKPOINT.size, HASH, line.signature[8:])

    def test_empty_subtree(self):
        with pytest.raises(FormatError, match="empty subtree"):
            W6.sign_subtree(ORIGIN, 8, 8, HASH)

    def test_a_subtree_that_cannot_be_signed(self):
        with pytest.raises(VerificationError, match="cannot sign"):
            VERIFIER.verify_subtree("", 0, 1, HASH, bytes(2420))


class TestChoice:
    @pytest.mark.parametrize(
        ("private", "use", "algorithm"),
        [
            (ed25519("k"), "log", ED25519),
            (ed25519("k"), "gateway", ED25519),
            (ed25519("k"), "authority", ED25519),
            (ed25519("k"), "witness", COSIGNATURE_ED25519),
            (mldsa44("k"), "log", COSIGNATURE_MLDSA44),
            (mldsa44("k"), "witness", COSIGNATURE_MLDSA44),
        ],
    )
    def test_signer_and_verifier(self, private, use, algorithm):
        signer = signer_for("n.example", private, use=use)
        assert signer.vkey == VKey.of("n.example", algorithm, public_bytes(private))
        verifier = verifier_for(signer.vkey)
        assert isinstance(signer, Signer)
        assert isinstance(verifier, Verifier)
        expected = None if algorithm == ED25519 else NOW
        assert verifier.verify(TEXT, signer.sign(TEXT, NOW).signature) == expected

    @pytest.mark.parametrize("use", ["gateway", "authority"])
    def test_mldsa44_signs_checkpoints_only(self, use):
        with pytest.raises(MunimentError, match="Ed25519"):
            signer_for("n", mldsa44("k"), use=use)

    def test_verifiers_take_their_own_type_only(self):
        for kind in (Ed25519CosignatureVerifier, MLDSA44Verifier):
            with pytest.raises(ValueError, match="not an"):
                kind(log_signer().vkey)

    @settings(max_examples=40)
    @given(st.binary(max_size=100), st.sampled_from([log_signer(), W4, W6]))
    def test_hostile_signatures(self, signature, signer):
        with pytest.raises(VerificationError):
            verifier_for(signer.vkey).verify(TEXT, signature)
