"""Ed25519 (RFC 8032) by libsodium: each key prepared once, for all of its messages."""

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from muniment.tlog.keys.remote import RemoteKey

_SIGNATURE_SIZE: Final = 64


def ed25519_check(public: bytes) -> Callable[[bytes, bytes], bool]:
    """Makes a function of message and signature that tells whether an Ed25519 key signed it.

    Prepared once per key. libsodium refuses small-order and non-canonical keys and signatures.
    """
    VerifyKey(public)  # refuses what is no key

    def check(message: bytes, signature: bytes) -> bool:
        if len(signature) != _SIGNATURE_SIZE:
            return False
        try:
            crypto_sign_open(signature + message, public)
        except CryptoError:
            return False
        return True

    return check


def ed25519_sign(private: Ed25519PrivateKey) -> Callable[[bytes], bytes]:
    """Makes a function that signs a message: 64 bytes. A third faster than `private.sign`."""
    if isinstance(private, RemoteKey):
        return private.sign
    _, key = crypto_sign_seed_keypair(private.private_bytes_raw())
    return lambda message: crypto_sign(message, key)[:_SIGNATURE_SIZE]
