"""Private keys in PKCS#8 and OneAsymmetricKey (RFC 5958, RFC 8410, RFC 9881), as tools write them.

The library reads the shortest form of each key alone. OpenSSL and BouncyCastle write ML-DSA-44 keys
as seed and expanded key; ring, dalek and BouncyCastle add the public key to an Ed25519 key. What a
file says twice must agree: another expanded or public key than the seed's is refused.

No error message holds a byte of a key or passphrase.
"""

import hashlib
from typing import Final, TypeAlias

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from muniment.tlog.encoding import FormatError
from muniment.tlog.keys import mldsa44
from muniment.tlog.keys.der import BIT_STRING, OBJECT, OCTET_STRING, SEQUENCE, DerReader

PrivateKey: TypeAlias = Ed25519PrivateKey | MLDSA44PrivateKey
"""A private key of one of the two algorithms that we sign with."""

SEED_SIZE: Final = 32
"""Bytes of the seed that either algorithm's private key is made from."""

DAMAGED: Final = "damaged or unsupported key"

_ED25519: Final = bytes.fromhex("2b6570")
_MLDSA44: Final = bytes.fromhex("608648016503040311")
_PBES2: Final = bytes.fromhex("2a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("2a864886f70d01050c")
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")
_AES_CBC: Final = {bytes.fromhex(f"6086480165030401{n:02x}") for n in (0x02, 0x16, 0x2A)}
_HMAC: Final = {
    bytes.fromhex(f"2a864886f70d02{n:02x}"): name
    for n, name in ((7, "sha1"), (8, "sha224"), (9, "sha256"), (10, "sha384"), (11, "sha512"))
}

_ATTRIBUTES: Final = 0xA0
_PUBLIC: Final = 0x81
_PUBLIC_WRAPPED: Final = 0xA1  # older versions of ring wrap the BIT STRING instead of replacing it
_SEED: Final = 0x80

_MOST_ROUNDS: Final = 10_000_000
"""Of PBKDF2: some ten seconds."""

_MOST_MEMORY: Final = 256 << 20
"""Bytes that scrypt may take."""


_MOST_SCRYPTS: Final = 16
"""Its parallelization, which costs time and no memory."""


class _OtherEncryptionError(Exception):
    """An encryption that only the library may know."""


def parse_private_key(der: bytes) -> PrivateKey:
    """The key in a PrivateKeyInfo or OneAsymmetricKey.

    Raises FormatError if it is damaged, of another algorithm, contradicts itself, or lacks the
    seed.
    """
    algorithm, content, public = _parse_info(der)
    if algorithm not in {_ED25519, _MLDSA44}:
        raise FormatError("neither an Ed25519 nor an ML-DSA-44 key; `muniment keygen` makes one")
    private = _ed25519(content) if algorithm == _ED25519 else _mldsa44(content)
    if public is not None and public != private.public_key().public_bytes_raw():
        raise FormatError("the public key beside the private key is that of another key")
    return private


def parse_encrypted_key(der: bytes, passphrase: bytes) -> PrivateKey:
    """The key in an EncryptedPrivateKeyInfo; FormatError also if the passphrase is wrong."""
    wrong = FormatError(f"{DAMAGED}, or a wrong passphrase")
    try:
        plain = _decrypt(der, passphrase)
        outer = DerReader(plain)
        outer.read(SEQUENCE)
        outer.end()
    except _OtherEncryptionError:
        return _ask_library(der, passphrase)
    except (ValueError, MemoryError):  # FormatError is one, too
        raise wrong from None
    return parse_private_key(plain)


def parse_public_key(der: bytes) -> bytes:
    """The public key in a SubjectPublicKeyInfo, whatever its algorithm; FormatError if damaged."""
    try:
        outer = DerReader(der)
        info = outer.inside(SEQUENCE)
        outer.end()
        info.read(SEQUENCE)
        public = _bits(info.read(BIT_STRING))
        info.end()
    except FormatError:
        raise FormatError("damaged public key") from None
    return public


def private_key_of(algorithm: type[PrivateKey], seed: bytes) -> PrivateKey:
    """The private key that a seed of `SEED_SIZE` bytes makes."""
    if algorithm is Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(seed)
    return MLDSA44PrivateKey.from_seed_bytes(seed)


def _parse_info(der: bytes) -> tuple[bytes, bytes, bytes | None]:
    """The algorithm's object identifier, the private key's octets, the public key if it is told."""
    try:
        outer = DerReader(der)
        info = outer.inside(SEQUENCE)
        outer.end()
        if info.number() > 1:
            raise FormatError(DAMAGED)
        algorithm = info.inside(SEQUENCE).read(OBJECT)
        content = info.read(OCTET_STRING)
        public = None
        if info.peek() == _ATTRIBUTES:
            info.read(_ATTRIBUTES)
        if info.peek() == _PUBLIC:
            public = _bits(info.read(_PUBLIC))
        elif info.peek() == _PUBLIC_WRAPPED:
            wrapped = info.inside(_PUBLIC_WRAPPED)
            public = _bits(wrapped.read(BIT_STRING))
            wrapped.end()
        info.end()
    except FormatError:
        raise FormatError(DAMAGED) from None
    return algorithm, content, public


def _bits(content: bytes) -> bytes:
    """A BIT STRING of whole bytes."""
    if content[:1] != b"\0":
        raise FormatError(DAMAGED)
    return content[1:]


def _ed25519(content: bytes) -> PrivateKey:
    try:
        inner = DerReader(content)
        seed = inner.read(OCTET_STRING)
        inner.end()
    except FormatError:
        raise FormatError(DAMAGED) from None
    if len(seed) != SEED_SIZE:
        raise FormatError(DAMAGED)
    return private_key_of(Ed25519PrivateKey, seed)


def _mldsa44(content: bytes) -> PrivateKey:
    """The key of one of the forms of RFC 9881 section 6, and of drafts before it without a tag."""
    seed, expanded = _mldsa44_parts(content)
    if seed is None:
        raise FormatError(
            "an ML-DSA-44 key without its seed, and nothing makes the seed of an expanded key. "
            "`muniment keygen --algorithm mldsa44` makes a new key; where a key is made with "
            "`openssl genpkey`, leave -provparam ml-dsa.output_formats away or make it seed-only"
        )
    if expanded is not None and mldsa44.expand(seed) != expanded:
        raise FormatError("the expanded ML-DSA-44 key is not that of the seed beside it")
    return private_key_of(MLDSA44PrivateKey, seed)


def _mldsa44_parts(content: bytes) -> tuple[bytes | None, bytes | None]:
    if len(content) == SEED_SIZE:
        return content, None
    if len(content) == mldsa44.EXPANDED_SIZE:
        return None, content
    seed = expanded = None
    try:
        outer = DerReader(content)
        if outer.peek() == _SEED:
            seed = outer.read(_SEED)
        elif outer.peek() == OCTET_STRING:
            expanded = outer.read(OCTET_STRING)
        else:
            both = outer.inside(SEQUENCE)
            seed, expanded = both.read(OCTET_STRING), both.read(OCTET_STRING)
            both.end()
        outer.end()
    except FormatError:
        raise FormatError(DAMAGED) from None
    if seed is not None and len(seed) != SEED_SIZE:
        raise FormatError(DAMAGED)
    if expanded is not None and len(expanded) != mldsa44.EXPANDED_SIZE:
        raise FormatError(DAMAGED)
    return seed, expanded


def _decrypt(der: bytes, passphrase: bytes) -> bytes:
    """What PBES2 (RFC 8018) with AES in CBC mode encrypted.

    Raises _OtherEncryptionError if it is encrypted in another way; ValueError if it is damaged, or
    the passphrase is wrong.
    """
    # Here and below, because most keys are not encrypted, and whoever verifies reads none.
    from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
    from cryptography.hazmat.primitives.ciphers.modes import CBC  # noqa: PLC0415
    from cryptography.hazmat.primitives.padding import PKCS7  # noqa: PLC0415

    outer = DerReader(der)
    info = outer.inside(SEQUENCE)
    outer.end()
    scheme = info.inside(SEQUENCE)
    data = info.read(OCTET_STRING)
    info.end()
    if scheme.read(OBJECT) != _PBES2:
        raise _OtherEncryptionError
    parameters = scheme.inside(SEQUENCE)
    derivation, cipher = parameters.inside(SEQUENCE), parameters.inside(SEQUENCE)
    name = cipher.read(OBJECT)
    if name not in _AES_CBC:
        raise _OtherEncryptionError
    size = {0x02: 16, 0x16: 24, 0x2A: 32}[name[-1]]
    key = _derive(derivation, passphrase, size)
    decryptor = Cipher(AES(key), CBC(cipher.read(OCTET_STRING))).decryptor()
    unpadder = PKCS7(128).unpadder()
    padded = decryptor.update(data) + decryptor.finalize()
    return unpadder.update(padded) + unpadder.finalize()


def _derive(derivation: DerReader, passphrase: bytes, size: int) -> bytes:
    """The encryption key that a passphrase makes."""
    function = derivation.read(OBJECT)
    parameters = derivation.inside(SEQUENCE)
    if function == _PBKDF2:
        salt, rounds = parameters.read(OCTET_STRING), parameters.number()
        hashes = "sha1"
        if parameters.peek() not in {None, SEQUENCE}:
            parameters.number()  # the key's length, which the cipher tells
        if parameters.peek() == SEQUENCE:
            prf = parameters.inside(SEQUENCE).read(OBJECT)
            if prf not in _HMAC:
                raise _OtherEncryptionError
            hashes = _HMAC[prf]
        if not 0 < rounds <= _MOST_ROUNDS:
            raise FormatError(DAMAGED)
        return hashlib.pbkdf2_hmac(hashes, passphrase, salt, rounds, size)
    if function == _SCRYPT:
        salt = parameters.read(OCTET_STRING)
        n, r, p = parameters.number(), parameters.number(), parameters.number()
        if not 0 < p <= _MOST_SCRYPTS:
            raise FormatError(DAMAGED)
        return hashlib.scrypt(passphrase, salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY, dklen=size)
    raise _OtherEncryptionError


def _ask_library(der: bytes, passphrase: bytes) -> PrivateKey:
    from cryptography.hazmat.primitives.serialization import load_der_private_key  # noqa: PLC0415

    try:
        private = load_der_private_key(der, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # The library's message is not passed on: it may describe what it found inside.
        raise FormatError(f"{DAMAGED}, or a wrong passphrase") from None
    if not isinstance(private, Ed25519PrivateKey | MLDSA44PrivateKey):
        raise FormatError("neither an Ed25519 nor an ML-DSA-44 key; `muniment keygen` makes one")
    return private
