r"""Authority signatures on decisions, by vkey: Ed25519 and ML-DSA-44.

What is signed is a domain line and the canonical record without its `signatures` member::

    muniment/decision-signature/v1\n<canonical JSON>

No signed note of ours has that first line, so neither kind of signature can be passed off as the
other. The key is named as in its vkey, ``<key name>+<key ID>``; vkeys have the signature type 0x01
for Ed25519 and 0x06 for ML-DSA-44. An ML-DSA-44 signature here is plain FIPS 204 ML-DSA (pure,
empty context) over those bytes, without the structure of C2SP tlog-cosignature.
"""

from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
from msgspec.structs import replace

from muniment.records.codec import encode_record
from muniment.records.kinds import Decision, Signature
from muniment.tlog.encoding import VerificationError, format_base64, parse_base64
from muniment.tlog.keys.ed25519 import ed25519_check, ed25519_sign
from muniment.tlog.keys.keyfile import PrivateKey
from muniment.tlog.note import (
    COSIGNATURE_MLDSA44,
    ED25519,
    VKey,
)

_DOMAIN: Final = b"muniment/decision-signature/v1\n"


def signing_input(record: Decision) -> bytes:
    """The bytes that authorities sign: the domain line, then the record without signatures."""
    return _DOMAIN + encode_record(replace(record, signatures=None))


def key_reference(vkey: VKey) -> str:
    """Names a key as records do: ``<key name>+<key ID, 8 hex digits>``."""
    return f"{vkey.name}+{vkey.key_id:08x}"


def authority_vkey(name: str, private: PrivateKey) -> VKey:
    """The vkey of an authority's key; FormatError if the name is no key name."""
    algorithm = ED25519 if isinstance(private, Ed25519PrivateKey) else COSIGNATURE_MLDSA44
    return VKey.of(name, algorithm, private.public_key().public_bytes_raw())


def sign_decision(record: Decision, name: str, private: PrivateKey) -> Decision:
    """Adds an authority's signature to a decision; those already there stay valid.

    The new one is last; one by the same key is replaced. Raises FormatError if the record is not
    valid, the name is no key name, or the record then has more than MAX_SIGNATURES signatures or
    MAX_RECORD bytes.
    """
    message = signing_input(record)
    if isinstance(private, Ed25519PrivateKey):
        signature = ed25519_sign(private)(message)
    else:
        signature = private.sign(message)
    key = key_reference(authority_vkey(name, private))
    others = tuple(one for one in record.signatures or () if one.key != key)
    signed = replace(
        record, signatures=(*others, Signature(key=key, signature=format_base64(signature)))
    )
    encode_record(signed)
    return signed


def verify_signatures(record: Decision, vkeys: Iterable[VKey]) -> tuple[VKey, ...]:
    """The authorities' keys that signed a decision, in its order; others are passed over.

    Whether the right ones signed, the caller decides. Raises VerificationError, naming it, if a
    signature of a known key does not verify; FormatError if the record is not valid; ValueError if
    two different vkeys have the same name and key ID.
    """
    known: dict[str, VKey] = {}
    for vkey in vkeys:
        if known.setdefault(key_reference(vkey), vkey) != vkey:
            raise ValueError(f"two keys are called {key_reference(vkey)}")
    message = signing_input(record)
    found: list[VKey] = []
    for one in record.signatures or ():
        if (match := known.get(one.key)) is None:
            continue
        signature = parse_base64(one.signature, f"signature of {one.key}")
        if not _holds(match, message, signature):
            raise VerificationError(f"{one.key}: the authority's signature does not verify")
        found.append(match)
    return tuple(found)


def _holds(vkey: VKey, message: bytes, signature: bytes) -> bool:
    if vkey.algorithm == ED25519:
        return ed25519_check(vkey.public)(message, signature)
    if vkey.algorithm != COSIGNATURE_MLDSA44:
        raise VerificationError(f"{key_reference(vkey)}: not a type that authorities have")
    try:
        MLDSA44PublicKey.from_public_bytes(vkey.public).verify(signature, message)
    except InvalidSignature:
        return False
    return True
