"""C2SP tlog-cosignature: timestamped signatures, Ed25519 (0x04) and ML-DSA-44 (0x06).

A log's own ML-DSA-44 signature is such a cosignature too, with the log as the cosigner.
"""

import struct
from typing import Final, Literal, Self, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from muniment.tlog.checkpoint import checkpoint_of
from muniment.tlog.encoding import (
    MAX_SIZE,
    FormatError,
    MunimentError,
    VerificationError,
)
from muniment.tlog.keys.ed25519 import ed25519_check, ed25519_sign
from muniment.tlog.keys.keyfile import PrivateKey
from muniment.tlog.merkle import HASH_SIZE
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    Ed25519Signer,
    Ed25519Verifier,
    SignatureLine,
    Signer,
    Verifier,
    VKey,
)

Use: TypeAlias = Literal["log", "witness", "gateway", "authority", "approver", "root"]

MAX_TIMESTAMP: Final = 2**63 - 1
"""Latest time a cosignature may state, in Unix seconds."""

MAX_NAME_SIZE: Final = 255
"""Longest cosigner name and origin that the ML-DSA-44 message can hold, in bytes."""

_LABEL: Final = b"subtree/v1\n\0"
_TIMESTAMP_SIZE: Final = 8
_ED25519_SIZE: Final = _TIMESTAMP_SIZE + 64
_MLDSA44_SIZE: Final = _TIMESTAMP_SIZE + 2420


def cosigned_message(
    cosigner: str, timestamp: int, origin: str, start: int, end: int, root: bytes
) -> bytes:
    """The `cosigned_message` struct that ML-DSA-44 signs; FormatError if a member does not fit it.

    Names have 1 to 255 bytes in UTF-8; 0 <= start <= end <= MAX_SIZE, [0, size) for a checkpoint.
    The timestamp is in Unix seconds; 0 makes no statement on the largest tree, and must be 0 unless
    start is.
    """
    _check_timestamp(timestamp)
    if not 0 <= start <= end <= MAX_SIZE:
        raise FormatError("cosignature: not a range of leaves")
    if start and timestamp:
        raise FormatError("cosignature: a timestamp on a subtree that does not start at zero")
    if len(root) != HASH_SIZE:
        raise FormatError(f"cosignature: hash of {len(root)} bytes")
    return b"".join(
        (
            _LABEL,
            _opaque(cosigner, "cosigner name"),
            timestamp.to_bytes(_TIMESTAMP_SIZE, "big"),
            _opaque(origin, "log origin"),
            struct.pack(">QQ", start, end),
            root,
        )
    )


def _opaque(text: str, what: str) -> bytes:
    data = text.encode("utf-8")
    if not 1 <= len(data) <= MAX_NAME_SIZE:
        raise FormatError(f"cosignature: {what} of {len(data)} bytes, not 1 to {MAX_NAME_SIZE}")
    return bytes([len(data)]) + data


def _check_timestamp(timestamp: int) -> None:
    if not 0 <= timestamp <= MAX_TIMESTAMP:
        raise FormatError("cosignature: timestamp is not between 0 and 2^63-1")


def _checkpoint_message(cosigner: str, timestamp: int, text: str) -> bytes:
    checkpoint = checkpoint_of(text)
    return cosigned_message(
        cosigner, timestamp, checkpoint.origin, 0, checkpoint.size, checkpoint.root
    )


def _ed25519_message(timestamp: int, text: str) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _split(vkey: VKey, signature: bytes, size: int) -> tuple[int, bytes]:
    """Takes the timestamped_signature struct apart."""
    if len(signature) != size:
        raise VerificationError(f"{vkey.name}: cosignature of {len(signature)} bytes, not {size}")
    timestamp = int.from_bytes(signature[:_TIMESTAMP_SIZE], "big")
    if timestamp > MAX_TIMESTAMP:
        raise VerificationError(f"{vkey.name}: cosignature timestamp beyond 2^63-1")
    return timestamp, signature[_TIMESTAMP_SIZE:]


class Ed25519Cosigner:
    """Cosigns checkpoints with Ed25519 ("Ed25519 signed message", type 0x04).

    The message does not hold the cosigner's name: a key must serve one cosigner only.
    """

    __slots__ = ("_sign", "vkey")

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        """Takes the cosigner's name and key; FormatError if the name is no key name."""
        public = private.public_key().public_bytes_raw()
        self.vkey = VKey.of(name, COSIGNATURE_ED25519, public)
        self._sign = ed25519_sign(private)

    def sign(self, text: str, now: int) -> SignatureLine:
        """Cosigns the text of a checkpoint, extension lines included.

        `now` is at most MAX_TIMESTAMP, and not 0 in add-checkpoint replies. Raises FormatError if
        the text is not a checkpoint, or the time is out of range.
        """
        checkpoint_of(text)
        _check_timestamp(now)
        signature = self._sign(_ed25519_message(now, text))
        return _line(self.vkey, now, signature)


class MLDSA44Cosigner:
    """Cosigns checkpoints and subtrees with ML-DSA-44 ("ML-DSA-44 signed message", type 0x06).

    Signing takes about a millisecond and lets other threads run meanwhile.
    """

    __slots__ = ("_private", "vkey")

    def __init__(self, name: str, private: MLDSA44PrivateKey) -> None:
        """Takes the cosigner's name (1 to 255 bytes) and key; FormatError for another name."""
        self.vkey = VKey.of(name, COSIGNATURE_MLDSA44, private.public_key().public_bytes_raw())
        _opaque(name, "cosigner name")
        self._private = private

    def sign(self, text: str, now: int) -> SignatureLine:
        """Cosigns a checkpoint, without extension lines; otherwise as `Ed25519Cosigner.sign`."""
        message = _checkpoint_message(self.vkey.name, now, text)
        return _line(self.vkey, now, self._private.sign(message))

    def under(self, name: str) -> Self:
        """The same key under another name; FormatError if no cosigner can have it."""
        return type(self)(name, self._private)

    def sign_subtree(self, origin: str, start: int, end: int, root: bytes) -> bytes:
        """Cosigns the subtree over leaves [start, end): the signature alone, which states no time.

        Whether the range is a valid subtree and consistent is for the caller to have checked.
        Raises FormatError if the range is empty or a member does not fit the struct.
        """
        if start >= end:
            raise FormatError("cosignature: empty subtree")
        return self._private.sign(cosigned_message(self.vkey.name, 0, origin, start, end, root))


def _line(vkey: VKey, timestamp: int, signature: bytes) -> SignatureLine:
    stamped = timestamp.to_bytes(_TIMESTAMP_SIZE, "big") + signature
    return SignatureLine(vkey.name, vkey.key_id, stamped)


class Ed25519CosignatureVerifier:
    """Verifies Ed25519 cosignatures; a `note.Verifier`."""

    __slots__ = ("_verify", "vkey")

    def __init__(self, vkey: VKey) -> None:
        """Takes a vkey of type COSIGNATURE_ED25519; ValueError for another one."""
        if vkey.algorithm != COSIGNATURE_ED25519:
            raise ValueError(f"{vkey.name}: not an Ed25519 cosignature key")
        self.vkey = vkey
        self._verify = ed25519_check(vkey.public)

    def verify(self, text: str, signature: bytes) -> int:
        """Returns the timestamp, Unix seconds; VerificationError if the signature does not hold."""
        timestamp, raw = _split(self.vkey, signature, _ED25519_SIZE)
        if not self._verify(_ed25519_message(timestamp, text), raw):
            raise VerificationError(f"{self.vkey.name}: cosignature does not verify")
        return timestamp


class MLDSA44Verifier:
    """Verifies ML-DSA-44 cosignatures of checkpoints and subtrees; a `note.Verifier`."""

    __slots__ = ("_public", "vkey")

    def __init__(self, vkey: VKey) -> None:
        """Takes a vkey of type COSIGNATURE_MLDSA44; ValueError for another one."""
        if vkey.algorithm != COSIGNATURE_MLDSA44:
            raise ValueError(f"{vkey.name}: not an ML-DSA-44 cosignature key")
        self.vkey = vkey
        self._public = MLDSA44PublicKey.from_public_bytes(vkey.public)

    def verify(self, text: str, signature: bytes) -> int:
        """Returns the timestamp, Unix seconds; VerificationError if the cosignature does not hold.

        Timestamp 0 makes no statement that this tree is the largest that the cosigner has seen.
        """
        timestamp, raw = _split(self.vkey, signature, _MLDSA44_SIZE)
        try:
            message = _checkpoint_message(self.vkey.name, timestamp, text)
        except FormatError as error:
            raise VerificationError(f"{self.vkey.name}: cannot sign this: {error}") from None
        self._check(message, raw)
        return timestamp

    def verify_subtree(
        self, origin: str, start: int, end: int, root: bytes, signature: bytes
    ) -> None:
        """Checks a signature of the subtree over leaves [start, end).

        Raises VerificationError if it does not hold, or the subtree cannot be signed.
        """
        try:
            message = cosigned_message(self.vkey.name, 0, origin, start, end, root)
        except FormatError as error:
            raise VerificationError(f"{self.vkey.name}: cannot sign this: {error}") from None
        self._check(message, signature)

    def _check(self, message: bytes, signature: bytes) -> None:
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            raise VerificationError(f"{self.vkey.name}: cosignature does not verify") from None


def verifier_for(vkey: VKey) -> Verifier:
    """Makes the verifier of a key; FormatError if we cannot verify its signature type."""
    if vkey.algorithm == ED25519:
        return Ed25519Verifier(vkey)
    if vkey.algorithm == COSIGNATURE_ED25519:
        return Ed25519CosignatureVerifier(vkey)
    if vkey.algorithm == COSIGNATURE_MLDSA44:
        return MLDSA44Verifier(vkey)
    raise FormatError(f"{vkey.name}: unknown signature type {vkey.algorithm:#04x}")


def signer_for(name: str, private: PrivateKey, *, use: Use) -> Signer:
    """Makes the signer that a role needs.

    A witness cosigns with either key. A log signs checkpoints with either key. Gateways,
    authorities, approvers and roots of policies sign other texts, which ML-DSA-44 cosignatures
    cannot. Raises
    FormatError if the name is no key name; MunimentError if another one than these two is given an
    ML-DSA-44 key.
    """
    if isinstance(private, Ed25519PrivateKey):
        if use == "witness":
            return Ed25519Cosigner(name, private)
        return Ed25519Signer(name, private)
    if use in {"gateway", "authority", "approver", "root"}:
        raise MunimentError(f"use {use} needs an Ed25519 key: ML-DSA-44 signs checkpoints only")
    return MLDSA44Cosigner(name, private)
