"""A private key that is kept elsewhere: its public half, and a function that asks for a signature.

`RemoteKey` is an `Ed25519PrivateKey` to the code that signs, and has no private bytes. Each answer
is verified before it is used: whoever keeps the key may be slow, broken or another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from muniment.tlog.encoding import MunimentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        KeySerializationEncryption,
        PrivateFormat,
    )

SIGNATURE_SIZE: Final = 64
"""Bytes of an Ed25519 signature (RFC 8032 section 5.1.6)."""

_PROBE: Final = b"muniment asks whether this key signs\n"  # no checkpoint, manifest or decision


class SigningError(MunimentError):
    """Whoever keeps a key has not signed."""


class RemoteKey(Ed25519PrivateKey):
    """An Ed25519 key that another program or device keeps."""

    def __init__(self, public: bytes, ask: Callable[[bytes], bytes], keeper: str) -> None:
        """Signs by a function that takes a message, and blocks until it has the signature.

        `keeper` names in messages who keeps the key, and `public` has 32 bytes.
        """
        self._public = Ed25519PublicKey.from_public_bytes(public)
        self._ask = ask
        self.keeper: Final = keeper

    def sign(self, data: bytes | bytearray | memoryview) -> bytes:
        """Has a message signed: 64 bytes; SigningError if they do not come, or do not hold."""
        message = bytes(data)
        try:
            signature = self._ask(message)
        except SigningError:
            # Once more: a session that ended, a connection that was cut.
            signature = self._ask(message)
        if len(signature) != SIGNATURE_SIZE:
            raise SigningError(
                f"{self.keeper}: {len(signature)} bytes instead of an Ed25519 signature of 64"
            )
        try:
            self._public.verify(signature, message)
        except InvalidSignature:
            raise SigningError(
                f"{self.keeper}: the signature does not verify: it keeps another key, or signs "
                "something else than the message (Ed25519 takes it as it is, and hashes it itself)"
            ) from None
        return signature

    def check(self) -> None:
        """Has something signed that means nothing; SigningError if that does not work."""
        self.sign(_PROBE)

    def public_key(self) -> Ed25519PublicKey:
        """The public half."""
        return self._public

    def private_bytes(
        self,
        encoding: Encoding,  # noqa: ARG002 - the library's signature
        format: PrivateFormat,  # noqa: A002, ARG002
        encryption_algorithm: KeySerializationEncryption,  # noqa: ARG002
    ) -> NoReturn:
        """Raises UnsupportedAlgorithm: the private half does not leave its keeper."""
        raise UnsupportedAlgorithm(f"{self.keeper} keeps the key, and does not give it away")

    def private_bytes_raw(self) -> NoReturn:
        """Raises UnsupportedAlgorithm, as `private_bytes`."""
        raise UnsupportedAlgorithm(f"{self.keeper} keeps the key, and does not give it away")

    def __copy__(self) -> RemoteKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RemoteKey:
        return self
