"""The signatures of authorities over decisions."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from muniment.records.api import (
    Decision,
    Signature,
    authority_vkey,
    encode_record,
    key_reference,
    sign_decision,
    signing_input,
    verify_signatures,
)
from muniment.tlog.encoding import VerificationError, parse_base64
from muniment.tlog.keys.keyfile import PrivateKey
from muniment.tlog.note import COSIGNATURE_ED25519, VKey
from record_examples import ABSENT, DECISION, changed, parse_decision

ED25519 = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
MLDSA44 = MLDSA44PrivateKey.from_seed_bytes(b"\x02" * 32)


def signable() -> Decision:
    return parse_decision(changed(DECISION, "signatures", ABSENT))


@pytest.mark.parametrize("private", [ED25519, MLDSA44], ids=["ed25519", "mldsa44"])
def test_an_authority_signs(private: PrivateKey) -> None:
    name = "authority.example/ops"
    vkey = authority_vkey(name, private)
    signed = sign_decision(signable(), name, private)
    assert signed.signatures[0].key == key_reference(vkey) == "+".join(str(vkey).split("+")[:2])
    assert verify_signatures(parse_decision(encode_record(signed)), [vkey]) == (vkey,)
    # The bytes are public: any implementation can check them.
    message = b"muniment/decision-signature/v1\n" + changed(DECISION, "signatures", ABSENT)
    assert signing_input(signed) == signing_input(signable()) == message
    signature = parse_base64(signed.signatures[0].signature, "signature")
    private.public_key().verify(signature, message)
    for change in ({"time": 6}, {"execution": None}, {"artifact": None}):
        with pytest.raises(VerificationError, match=r"authority.example/ops\+[0-9a-f]{8}: the"):
            verify_signatures(msgspec.structs.replace(signed, **change), [vkey])
    short = Signature(key=key_reference(vkey), signature="AAAA")
    with pytest.raises(VerificationError):
        verify_signatures(msgspec.structs.replace(signed, signatures=(short,)), [vkey])


def test_several_authorities_sign() -> None:
    once = sign_decision(signable(), "a.example", ED25519)
    twice = sign_decision(once, "b.example", MLDSA44)
    keys = [authority_vkey("a.example", ED25519), authority_vkey("b.example", MLDSA44)]
    assert verify_signatures(twice, reversed(keys)) == tuple(keys)
    assert verify_signatures(twice, keys[1:]) == (keys[1],)
    assert verify_signatures(twice, []) == ()
    assert verify_signatures(twice, [authority_vkey("c.example", ED25519)]) == ()
    assert verify_signatures(signable(), keys) == ()
    again = sign_decision(twice, "a.example", ED25519)
    assert again.signatures is not None
    assert len(again.signatures) == 2


def test_keys_that_are_no_authorities() -> None:
    signed = sign_decision(signable(), "a.example", ED25519)
    public = ED25519.public_key().public_bytes_raw()
    witness = VKey.of("a.example", COSIGNATURE_ED25519, public)
    # Another type has another key ID, and so is another key.
    assert verify_signatures(signed, [witness]) == ()
    named = Signature(key=key_reference(witness), signature="AAAA")
    with pytest.raises(VerificationError, match="not a type that authorities have"):
        verify_signatures(msgspec.structs.replace(signed, signatures=(named,)), [witness])
    other = VKey(witness.name, witness.key_id, 1, public)
    with pytest.raises(ValueError, match="two keys are called"):
        verify_signatures(signed, [witness, other])
