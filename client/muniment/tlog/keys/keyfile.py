"""Key files: PKCS#8 private keys in PEM (RFC 7468, see `pkcs8`), with a vkey header line.

The text before a PEM block is free (RFC 7468 section 2), so a line ``vkey <vkey>`` there tells
the key's name and use, and every other PKCS#8 reader still opens the file. No error message of
this module holds a byte of a key or passphrase. What else people keep keys in, `foreignkeys` reads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from muniment.tlog.encoding import FormatError
from muniment.tlog.keys.pem import Block, decode_text, find_blocks
from muniment.tlog.keys.pkcs8 import (
    DAMAGED,
    PrivateKey,
    parse_encrypted_key,
    parse_private_key,
    parse_public_key,
)
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    VKey,
    parse_vkey,
)

__all__ = [
    "KeyFile",
    "PrivateKey",
    "algorithm_of",
    "check_vkey",
    "format_key_file",
    "generate",
    "is_encrypted",
    "parse_key_file",
    "public_bytes",
]

Algorithm: TypeAlias = Literal["ed25519", "mldsa44"]

MAX_KEY_FILE_SIZE: Final = 64 * 1024
"""Largest key file in bytes; ours take 4 kB at most, other writers may put text before the key."""

IMPORT: Final = "`muniment keygen --from FILE --name NAME --use USE --out NEW`"
"""The command that makes a key file of what another tool wrote."""

_PLAIN: Final = "PRIVATE KEY"
_ENCRYPTED: Final = "ENCRYPTED PRIVATE KEY"
_OPENSSH: Final = "OPENSSH PRIVATE KEY"
_CERTIFICATE: Final = "CERTIFICATE"
_PUBLIC: Final = "PUBLIC KEY"
_VKEY: Final = "vkey "
_SIGNATURE_TYPES: Final[dict[type[PrivateKey], tuple[int, ...]]] = {
    Ed25519PrivateKey: (ED25519, COSIGNATURE_ED25519),
    MLDSA44PrivateKey: (COSIGNATURE_MLDSA44,),
}


def generate(algorithm: Algorithm) -> PrivateKey:
    """Generates a private key from random numbers; ValueError for an unknown algorithm."""
    match algorithm:
        case "ed25519":
            return Ed25519PrivateKey.generate()
        case "mldsa44":
            return MLDSA44PrivateKey.generate()
        case _:
            raise ValueError(f"not an algorithm: {algorithm}")


def algorithm_of(private: PrivateKey) -> Algorithm:
    """The algorithm that a private key is for."""
    return "ed25519" if isinstance(private, Ed25519PrivateKey) else "mldsa44"


def public_bytes(private: PrivateKey) -> bytes:
    """The public key as vkeys hold it: 32 bytes of Ed25519, 1312 bytes of ML-DSA-44."""
    return private.public_key().public_bytes_raw()


@dataclass(frozen=True, slots=True)
class KeyFile:
    """The private key in a key file, never part of the repr, and its vkey when the file tells."""

    private: PrivateKey = field(repr=False)
    vkey: VKey | None

    def __post_init__(self) -> None:
        if self.vkey is not None:
            check_vkey(self.private, self.vkey)


def check_vkey(private: PrivateKey, vkey: VKey) -> None:
    """Checks that a vkey is the public half of a private key; FormatError if it is of another."""
    for kind, types in _SIGNATURE_TYPES.items():
        if isinstance(private, kind) and vkey.algorithm in types:
            if vkey.public == public_bytes(private):
                return
            break
    raise FormatError("key file: the vkey is not that of the private key")


def parse_key_file(data: bytes, passphrase: bytes | None) -> KeyFile:
    """Parses one PKCS#8 private key in PEM, with or without a ``vkey`` line before it.

    The key's public half may be in the file as well; certificates and comments are passed over. The
    file has at most MAX_KEY_FILE_SIZE bytes; the passphrase is None (or empty) if it is not
    encrypted. Raises FormatError if the file is not that: another kind of key, a wrong, missing or
    needless passphrase, a vkey or public key of another key. The message tells nothing of the key,
    and names the command that converts it where there is one.
    """
    if len(data) > MAX_KEY_FILE_SIZE:
        raise FormatError(f"key file: more than {MAX_KEY_FILE_SIZE} bytes")
    blocks = find_blocks(decode_text(data))
    block = _private_block(blocks)
    vkey = _find_vkey(block.before)
    try:
        private = _private_key(block, passphrase)
        for other in blocks:
            if other.label == _PUBLIC and parse_public_key(other.content()) != public_bytes(
                private
            ):
                raise FormatError("the public key in the file is that of another key")
    except FormatError as error:
        raise FormatError(f"key file: {error}") from None
    return KeyFile(private, vkey)


def is_encrypted(data: bytes) -> bool:
    """Whether a file holds a PKCS#8 key that is encrypted."""
    return any(block.label == _ENCRYPTED for block in find_blocks(decode_text(data)))


def _private_block(blocks: Sequence[Block]) -> Block:
    found = [block for block in blocks if block.label.endswith(_PLAIN)]
    if len(found) > 1:
        raise FormatError(f"key file: {len(found)} private keys instead of one")
    if not found and any(block.label == _PUBLIC for block in blocks):
        raise FormatError("key file: not a PKCS#8 private key but a public key alone")
    if not found and any(block.label == _CERTIFICATE for block in blocks):
        raise FormatError("key file: a certificate, without the private key")
    if not found:
        raise FormatError(
            f"key file: no PKCS#8 private key in PEM ({len(blocks)} PEM blocks). If it is a key "
            f"in another form, {IMPORT} makes a key file of it"
        )
    block = found[0]
    if block.label == _OPENSSH:
        raise FormatError(
            f"key file: not a PKCS#8 private key but an OpenSSH one; {IMPORT} makes a key file "
            "of it"
        )
    if block.label not in {_PLAIN, _ENCRYPTED}:
        raise FormatError(
            f"key file: not a PKCS#8 private key but an {block.label}, which is neither Ed25519 "
            "nor ML-DSA-44; `muniment keygen` makes a key that is"
        )
    return block


def _private_key(block: Block, passphrase: bytes | None) -> PrivateKey:
    if block.label == _ENCRYPTED and not passphrase:
        raise FormatError("encrypted, and no passphrase given")
    if block.label == _PLAIN and passphrase:
        raise FormatError("a passphrase given, but the key is not encrypted")
    try:
        content = block.content()
    except FormatError as error:
        raise FormatError(f"{DAMAGED}: {error}") from None
    return parse_encrypted_key(content, passphrase) if passphrase else parse_private_key(content)


def _find_vkey(lines: Sequence[str]) -> VKey | None:
    # Other lines are the comments of whoever wrote the file; PKCS#8 readers skip them as well.
    vkeys = [line.removeprefix(_VKEY) for line in lines if line.startswith(_VKEY)]
    if len(vkeys) > 1:
        raise FormatError("key file: more than one vkey line")
    return parse_vkey(vkeys[0], "key file: vkey") if vkeys else None


def format_key_file(private: PrivateKey, vkey: VKey | None, passphrase: bytes | None) -> bytes:
    """Writes a key file that `parse_key_file` and other PKCS#8 readers take.

    With a vkey, it has the header line; with a passphrase, it is encrypted (PBES2, as the library
    thinks best). Raises FormatError if the vkey is that of another key; ValueError if the
    passphrase is empty or longer than the library takes (1,023 bytes).
    """
    # Those who only read keys do without: it brings SSH's formats and all ciphers.
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    if vkey is not None:
        check_vkey(private, vkey)
    header = f"{_VKEY}{vkey}\n" if vkey is not None else ""
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return header.encode("utf-8") + pem
