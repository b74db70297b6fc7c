"""PKCS#8 private keys in PEM (RFC 5208, RFC 7468, RFC 8410, RFC 9881), with a vkey header line.

The text before a PEM block is free (RFC 7468 section 2), so a line ``vkey <vkey>`` there tells
the key's name and use, and every other PKCS#8 reader still opens the file. No error message of
this module holds a byte of a key or passphrase.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from muniment.formats.encoding import FormatError
from muniment.formats.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    VKey,
    parse_vkey,
)

PrivateKey: TypeAlias = Ed25519PrivateKey | MLDSA44PrivateKey
"""A private key of one of the two algorithms that we sign with."""

Algorithm: TypeAlias = Literal["ed25519", "mldsa44"]

MAX_KEY_FILE_SIZE: Final = 64 * 1024
"""Largest key file in bytes; ours take 4 kB at most, other writers may put text before the key."""

_BLOCK: Final = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----[ \t]*\r?$", re.MULTILINE)
_PLAIN: Final = b"PRIVATE KEY"
_ENCRYPTED: Final = b"ENCRYPTED PRIVATE KEY"
_VKEY: Final = "vkey "
_SIGNATURE_TYPES: Final[dict[type[PrivateKey], tuple[int, ...]]] = {
    Ed25519PrivateKey: (ED25519, COSIGNATURE_ED25519),
    MLDSA44PrivateKey: (COSIGNATURE_MLDSA44,),
}


def generate(algorithm: Algorithm) -> PrivateKey:
    """Generates a private key from the operating system's random numbers.

    Raises:
        ValueError: If the algorithm is not one of the two.
    """
    match algorithm:
        case "ed25519":
            return Ed25519PrivateKey.generate()
        case "mldsa44":
            return MLDSA44PrivateKey.generate()
        case _:
            raise ValueError(f"not an algorithm: {algorithm}")


def public_bytes(private: PrivateKey) -> bytes:
    """The public key as vkeys hold it: 32 bytes of Ed25519, 1312 bytes of ML-DSA-44."""
    return private.public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file holds.

    Attributes:
        private: The private key; never part of the repr.
        vkey: Its public half with name and signature type, when the file tells.
    """

    private: PrivateKey = field(repr=False)
    vkey: VKey | None

    def __post_init__(self) -> None:
        if self.vkey is not None:
            check_vkey(self.private, self.vkey)


def check_vkey(private: PrivateKey, vkey: VKey) -> None:
    """Checks that a vkey is the public half of a private key.

    Raises:
        FormatError: If it is that of another key, or of a signature type with another algorithm.
    """
    for kind, types in _SIGNATURE_TYPES.items():
        if isinstance(private, kind) and vkey.algorithm in types:
            if vkey.public == public_bytes(private):
                return
            break
    raise FormatError("key file: the vkey is not that of the private key")


def parse_key_file(data: bytes, passphrase: bytes | None) -> KeyFile:
    """Parses one PKCS#8 private key in PEM, with or without a ``vkey`` line before it.

    Args:
        data: The file, at most MAX_KEY_FILE_SIZE bytes.
        passphrase: What decrypts the key; None (or empty) if it is not encrypted.

    Raises:
        FormatError: If the file is not that: another kind of key, a wrong, missing or needless
            passphrase, a vkey of another key. The message tells nothing of the key.
    """
    if len(data) > MAX_KEY_FILE_SIZE:
        raise FormatError(f"key file: more than {MAX_KEY_FILE_SIZE} bytes")
    blocks = list(_BLOCK.finditer(data))
    if len(blocks) != 1:
        raise FormatError(f"key file: {len(blocks)} PEM blocks instead of one")
    vkey = _parse_header(data[: blocks[0].start()])
    kind = blocks[0][1]
    if kind not in {_PLAIN, _ENCRYPTED}:
        raise FormatError("key file: not a PKCS#8 private key")
    if kind == _ENCRYPTED and not passphrase:
        raise FormatError("key file: encrypted, and no passphrase given")
    if kind == _PLAIN and passphrase:
        raise FormatError("key file: a passphrase given, but the key is not encrypted")
    try:
        private = load_pem_private_key(data[blocks[0].start() :], passphrase or None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # The library's message is not passed on: it may describe what it found inside.
        hint = ", or a wrong passphrase" if kind == _ENCRYPTED else ""
        raise FormatError(f"key file: damaged or unsupported key{hint}") from None
    if not isinstance(private, Ed25519PrivateKey | MLDSA44PrivateKey):
        raise FormatError("key file: neither an Ed25519 nor an ML-DSA-44 key")
    return KeyFile(private, vkey)


def _parse_header(header: bytes) -> VKey | None:
    try:
        lines = header.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise FormatError("key file: the text before the key is not UTF-8") from None
    # Other lines are the comments of whoever wrote the file; PKCS#8 readers skip them as well.
    vkeys = [line.removeprefix(_VKEY).rstrip("\r") for line in lines if line.startswith(_VKEY)]
    if len(vkeys) > 1:
        raise FormatError("key file: more than one vkey line")
    return parse_vkey(vkeys[0], "key file: vkey") if vkeys else None


def format_key_file(private: PrivateKey, vkey: VKey | None, passphrase: bytes | None) -> bytes:
    """Writes a key file that `parse_key_file` and other PKCS#8 readers take.

    Args:
        private: The key.
        vkey: Its public half, for the header line; None for none.
        passphrase: Encrypts the key (PBES2, as the library thinks best); None for no encryption.

    Raises:
        FormatError: If the vkey is that of another key.
        ValueError: If the passphrase is empty or longer than the library takes (1,023 bytes).
    """
    if vkey is not None:
        check_vkey(private, vkey)
    header = f"{_VKEY}{vkey}\n" if vkey is not None else ""
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return header.encode("utf-8") + pem
