"""What a policy lets through (C2SP tlog-policy, tlog-proof steps 2 and 3)."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniment.tlog.checkpoint import Checkpoint, SignedCheckpoint, sign_checkpoint
from muniment.tlog.encoding import FormatError, VerificationError
from muniment.tlog.note import SignatureLine, UnverifiedNote
from muniment.tlog.policy import CosignedCheckpoint
from policy_example import LOG, POLICY, A, W, parse
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


def cosigned(*names: str) -> SignedCheckpoint:
    return signed(log_signer(), *(W[name] for name in names))


class TestVerify:
    """What the policy says of a checkpoint ("What is a policy?", tlog-proof step 2 and 3)."""

    def test_accepts(self):
        checkpoint = cosigned("X1", "X3", "Y2")
        result = POLICY.verify(checkpoint)
        assert isinstance(result, CosignedCheckpoint)
        assert result.signed == checkpoint
        assert result.log_keys == (log_signer().vkey,)
        assert result.cosigners == (("X1", NOW), ("X3", NOW), ("Y2", NOW))
        assert (result.origin, result.size, result.root) == (ORIGIN, 7, checkpoint.checkpoint.root)
        assert result.checkpoint is checkpoint.checkpoint
        assert POLICY.verify(checkpoint.encode(), origin=ORIGIN) == result

    def test_origin(self):
        with pytest.raises(VerificationError, match="expected other"):
            POLICY.verify(cosigned("X1", "X2", "Y1"), origin="other")
        other = signed(log_signer("other"), *W.values(), origin="other")
        with pytest.raises(VerificationError, match="does not list log other"):
            POLICY.verify(other)
        with pytest.raises(VerificationError, match="does not list"):
            parse("quorum none\n").verify(signed())

    def test_log_name_must_be_the_origin(self):
        """The key name MUST correspond to the log's origin line: other logs cannot sign for it."""
        policy = parse(f"{LOG}log {log_signer('other').vkey}\nquorum none\n")
        with pytest.raises(VerificationError, match=f"not signed by a key of log {ORIGIN}"):
            policy.verify(signed(log_signer("other")))
        both = policy.verify(signed(log_signer("other"), log_signer()))
        assert both.log_keys == (log_signer().vkey,)

    def test_any_key_of_the_log(self):
        policy = parse(f"{LOG}log {log_mldsa44().vkey}\nquorum none\n")
        assert policy.verify(signed()).log_keys == (log_signer().vkey,)
        assert policy.verify(signed(log_mldsa44())).log_keys == (log_mldsa44().vkey,)
        assert len(policy.verify(signed(log_mldsa44(), log_signer())).log_keys) == 2
        with pytest.raises(VerificationError, match="not signed"):
            policy.verify(signed(witness("w")))

    def test_message_tells_what_was_found_and_what_is_missing(self):
        with pytest.raises(VerificationError) as caught:
            POLICY.verify(cosigned("X1", "Y2"))
        assert str(caught.value) == (
            "checkpoint: no quorum: cosigned by X1, Y2; X-and-Y needs 1 more of X-witnesses; "
            "X-witnesses needs 1 more of X2, X3"
        )
        with pytest.raises(
            VerificationError, match="cosigned by no witness; X1 needs 1 more of X1"
        ):
            parse(f"{LOG}{A}quorum X1\n").verify(signed())

    def test_unknown_keys_must_be_ignored(self):
        stranger = SignatureLine(W["X1"].vkey.name, 1, b"x")
        checkpoint = cosigned("X1", "X2", "Y1").with_signatures([stranger])
        assert len(POLICY.verify(checkpoint).cosigners) == 3

    @pytest.mark.parametrize("poisoned", [0, 3])
    def test_known_keys_poison(self, poisoned):
        """A log's or a witness' failing signature rejects the note, though the rest suffices."""
        checkpoint = cosigned("X1", "X2", "X3", "Y1")
        lines = list(checkpoint.note.signatures)
        lines[poisoned] = replace(lines[poisoned], signature=bytes(64 if poisoned == 0 else 72))
        text = checkpoint.note.text
        bad = SignedCheckpoint(checkpoint.checkpoint, UnverifiedNote(text, tuple(lines)))
        with pytest.raises(VerificationError, match="does not verify"):
            POLICY.verify(bad)
        # One more line of the same key, after a good one, as well.
        with pytest.raises(VerificationError, match="does not verify"):
            POLICY.verify(checkpoint.with_signatures([lines[poisoned]]))

    def test_signatures_of_another_checkpoint(self):
        other = signed(log_signer(), *W.values(), size=8)
        moved = SignedCheckpoint(
            signed().checkpoint, UnverifiedNote(signed().note.text, other.note.signatures)
        )
        with pytest.raises(VerificationError):
            POLICY.verify(moved)

    def test_latest_of_several_cosignatures(self):
        text = cosigned().note.text
        extra = [W["X1"].sign(text, now) for now in (3, NOW + 5, 0)]
        result = POLICY.verify(cosigned("X1", "X2", "Y1").with_signatures(extra))
        assert result.cosigners == (("X1", NOW + 5), ("X2", NOW), ("Y1", NOW))

    @pytest.mark.parametrize("make", [witness, witness_mldsa44])
    def test_time_zero_does_not_count(self, make):
        """tlog-cosignature v1.1.0: signatures of checkpoints require a time other than zero."""
        m = make("m")
        policy = parse(f"{LOG}witness m {m.vkey}\nquorum m\n")
        text = signed().note.text
        with pytest.raises(VerificationError, match="no quorum"):
            policy.verify(signed().with_signatures([m.sign(text, 0)]))
        lines = [m.sign(text, 0), m.sign(text, 7)]
        assert policy.verify(signed().with_signatures(lines)).stated == (("m", 7),)

    def test_time_zero_of_a_log_does_not_count(self):
        log = log_mldsa44()
        policy = parse(f"log {log.vkey}\nquorum none\n")
        checkpoint = sign_checkpoint(signed().checkpoint, [log], 0)
        with pytest.raises(VerificationError, match="states no time"):
            policy.verify(checkpoint)
        assert policy.verify(sign_checkpoint(signed().checkpoint, [log], 1)).log_keys == (log.vkey,)

    def test_not_a_checkpoint(self):
        with pytest.raises(FormatError):
            POLICY.verify(b"nonsense")

    def test_extensions(self):
        checkpoint = Checkpoint(ORIGIN, 1, bytes(32), ("ext",))
        signers = [log_signer(), W["X1"], W["X2"], W["Y1"]]
        assert POLICY.verify(sign_checkpoint(checkpoint, signers, NOW))


@settings(max_examples=150)
@given(st.binary(max_size=100) | mutations([cosigned("X1", "X2", "Y1").encode()]))
def test_verify_refuses_what_was_changed(data):
    original = cosigned("X1", "X2", "Y1").checkpoint
    try:
        result = POLICY.verify(data)
    except (FormatError, VerificationError):
        return
    assert result.checkpoint == original
