"""Private keys as other tools keep them: `parse_foreign_key` reads each form that can be told.

PKCS#8 in PEM or DER, OpenSSH's own form, Go's note keys (``PRIVATE+KEY+name+id+key``, of
golang.org/x/mod/sumdb/note) and seeds of 32 bytes, as they are or in hexadecimal or base64; also
with the public key after the seed, as Go, NaCl and libsodium keep Ed25519 keys. A form that cannot
be read is refused with the command that converts it, where there is one. No error message of this
module holds a byte of a key or passphrase.
"""

import re
from binascii import a2b_base64
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from muniment.tlog.encoding import FormatError
from muniment.tlog.keys import keyfile as keys
from muniment.tlog.keys.der import INTEGER, OCTET_STRING, SEQUENCE, DerReader
from muniment.tlog.keys.keyfile import MAX_KEY_FILE_SIZE, PrivateKey, parse_key_file, public_bytes
from muniment.tlog.keys.pem import Block, decode_text, find_blocks, text_lines
from muniment.tlog.keys.pkcs8 import (
    SEED_SIZE,
    parse_encrypted_key,
    parse_private_key,
    private_key_of,
)
from muniment.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    VKey,
)

_OPENSSH: Final = "OPENSSH PRIVATE KEY"
_OPENSSH_MAGIC: Final = b"openssh-key-v1\0"
_OPENSSH_PLAIN: Final = _OPENSSH_MAGIC + b"\0\0\0\4none"
"""How the key begins (PROTOCOL.key of OpenSSH) when it is not encrypted."""

_OPENSSH_PUBLIC: Final = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
"""What stands before the public key, which is never encrypted."""

_NOTE_KEY: Final = "PRIVATE+KEY+"
_NOTE_TYPES: Final[dict[int, type[PrivateKey]]] = {
    ED25519: Ed25519PrivateKey,
    COSIGNATURE_ED25519: Ed25519PrivateKey,
    COSIGNATURE_MLDSA44: MLDSA44PrivateKey,
}
_TYPES: Final[dict[keys.Algorithm, type[PrivateKey]]] = {
    "ed25519": Ed25519PrivateKey,
    "mldsa44": MLDSA44PrivateKey,
}
_PRINTABLE: Final = re.compile(rb"[\t\n\r -~]*")
_HEXADECIMAL: Final = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2}[: ]?)+)")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_PKCS12_VERSION: Final = 3

_HINTS: Final = (
    (
        re.compile(r"PuTTY-User-Key-File-"),
        "a PuTTY key; convert it: puttygen FILE -O private-openssh-new -o NEW",
    ),
    (
        re.compile(r"---- BEGIN SSH2 "),
        "a key in the form of RFC 4716; `ssh-keygen -i -f FILE` reads it",
    ),
    (
        re.compile(r"\{"),
        "JSON. If it is a JSON Web Key, its seed can be taken out: jq -r '.d // .priv' FILE > SEED",
    ),
    (
        re.compile(r".*-----BEGIN "),
        (
            "a PEM block whose BEGIN and END do not stand on lines of their own; where it has \\n "
            "in their place: sed 's/\\\\n/\\n/g' FILE > NEW"
        ),
    ),
    (re.compile(r"[^ +]+\+[0-9a-f]{8}\+"), "a vkey, the public half, without the private key"),
    (re.compile(r"ssh-|ecdsa-|sk-"), "a public key of SSH, without the private one"),
    (re.compile(r"untrusted comment:"), "a key of signify or minisign, which no tool converts"),
    (re.compile(r"AGE-SECRET-KEY-"), "a key of age, which encrypts and cannot sign"),
)
"""What a file's first line begins with, and what is said then."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A private key as another tool kept it.

    The private key is never part of the repr; the vkey is there when the file tells a name: a note
    key, or one of our files.
    """

    private: PrivateKey = field(repr=False)
    vkey: VKey | None = None
    was_encrypted: bool = False


def parse_foreign_key(
    data: bytes, passphrase: bytes | None, algorithm: keys.Algorithm
) -> ForeignKey:
    """Reads a private key in whatever form it is, at most MAX_KEY_FILE_SIZE bytes; see the module.

    The passphrase is None (or empty) if it is not encrypted; `algorithm` is that of a key that does
    not tell: a seed. Raises FormatError if it is in no form that can be read, damaged, or of
    another algorithm; or the passphrase is wrong, missing or needless.
    """
    if len(data) > MAX_KEY_FILE_SIZE:
        raise FormatError(f"more than {MAX_KEY_FILE_SIZE} bytes")
    if not data:
        raise FormatError("empty (0 bytes)")
    text = decode_text(data)
    blocks = find_blocks(text)
    openssh = [block for block in blocks if block.label == _OPENSSH]
    if openssh:
        if len([block for block in blocks if block.label.endswith("PRIVATE KEY")]) > 1:
            raise FormatError("more than one private key")
        return ForeignKey(_openssh(openssh[0], passphrase), was_encrypted=bool(passphrase))
    if blocks:
        found = parse_key_file(data, passphrase)
        return ForeignKey(found.private, found.vkey, was_encrypted=bool(passphrase))
    if _is_der(data):
        return ForeignKey(_der(data, passphrase), was_encrypted=bool(passphrase))
    if passphrase:
        raise FormatError("a passphrase given, but the key is not encrypted")
    lines = [line for line in text_lines(text) if line and not line.startswith("#")]
    if any(line.startswith(_NOTE_KEY) for line in lines):
        return _note_key(lines)
    return ForeignKey(_seed(data, lines, algorithm))


def is_encrypted(data: bytes) -> bool:
    """Whether a file holds a private key that is encrypted; FormatError if it is cut off."""
    if keys.is_encrypted(data):
        return True
    for block in find_blocks(decode_text(data)):
        if block.label == _OPENSSH:
            content = block.content()
            return content.startswith(_OPENSSH_MAGIC) and not content.startswith(_OPENSSH_PLAIN)
    return _is_der(data) and _is_encrypted_der(data)


def _openssh(block: Block, passphrase: bytes | None) -> PrivateKey:
    content = block.content()
    if not content.startswith(_OPENSSH_MAGIC):
        raise FormatError("damaged or unsupported OpenSSH key")
    encrypted = not content.startswith(_OPENSSH_PLAIN)
    if encrypted and not passphrase:
        raise FormatError("encrypted, and no passphrase given")
    if passphrase and not encrypted:
        raise FormatError("a passphrase given, but the key is not encrypted")
    # The library wants its lines without indentation.
    begin, end = f"-----BEGIN {_OPENSSH}-----", f"-----END {_OPENSSH}-----"
    clean = "\n".join([begin, *block.lines, end, ""]).encode()
    try:
        private = load_ssh_private_key(clean, passphrase or None)
    except UnsupportedAlgorithm:
        if encrypted and not _can_decrypt_openssh():
            raise FormatError(
                "an OpenSSH key with a passphrase, which takes the package bcrypt: install "
                "muniment[ssh], or take the passphrase off a copy: ssh-keygen -p -N '' -f COPY"
            ) from None
        raise FormatError(_other_openssh()) from None
    except (ValueError, TypeError):
        # The library's message is not passed on: it may describe what it found inside.
        hint = ", or a wrong passphrase" if encrypted else ""
        raise FormatError(f"damaged or unsupported OpenSSH key{hint}") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise FormatError(_other_openssh())
    if _OPENSSH_PUBLIC + public_bytes(private) not in content:
        raise FormatError("the public key beside the private key is that of another key")
    return private


def _other_openssh() -> str:
    return (
        "an OpenSSH key that is not Ed25519; `ssh-keygen -t ed25519` or `muniment keygen` makes one"
    )


def _can_decrypt_openssh() -> bool:
    try:
        import bcrypt  # noqa: F401, PLC0415 - optional
    except ImportError:
        return False
    return True


def _is_der(data: bytes) -> bool:
    """Whether the bytes are one SEQUENCE, as no seed is: those have other lengths."""
    if len(data) in {SEED_SIZE, 2 * SEED_SIZE}:
        return False
    try:
        outer = DerReader(data)
        outer.read(SEQUENCE)
        outer.end()
    except FormatError:
        return False
    return True


def _is_encrypted_der(data: bytes) -> bool:
    """Whether a SEQUENCE is an EncryptedPrivateKeyInfo: a SEQUENCE, and an OCTET STRING."""
    inner = DerReader(data).inside(SEQUENCE)
    try:
        inner.read(SEQUENCE)
    except FormatError:
        return False
    return inner.peek() == OCTET_STRING


def _der(data: bytes, passphrase: bytes | None) -> PrivateKey:
    if _is_encrypted_der(data):
        if not passphrase:
            raise FormatError("encrypted, and no passphrase given")
        return parse_encrypted_key(data, passphrase)
    inner = DerReader(data).inside(SEQUENCE)
    if inner.peek() == SEQUENCE:
        raise FormatError("a public key or a certificate, without the private key")
    if inner.peek() == INTEGER and inner.number() == _PKCS12_VERSION:
        raise FormatError(
            "a PKCS#12 file; take the key out: openssl pkcs12 -in FILE -nocerts -out NEW"
        )
    if passphrase:
        raise FormatError("a passphrase given, but the key is not encrypted")
    return parse_private_key(data)


def _note_key(lines: list[str]) -> ForeignKey:
    """``PRIVATE+KEY+<name>+<8 hexadecimal digits>+base64(signature type || seed)``."""
    damaged = FormatError("damaged note key: not PRIVATE+KEY+name+id+key")
    found = [line for line in lines if line.startswith(_NOTE_KEY)]
    others = [line for line in lines if not line.startswith(_NOTE_KEY)]
    if len(found) != 1:
        raise FormatError(f"{len(found)} note keys instead of one")
    parts = found[0].removeprefix(_NOTE_KEY).split("+", 2)
    try:
        name, identifier, material = parts
        content = a2b_base64(material, strict_mode=True)
    except ValueError:
        raise damaged from None
    kind = _NOTE_TYPES.get(content[0]) if content else None
    if kind is None:
        raise FormatError("a note key of an algorithm that is neither Ed25519 nor ML-DSA-44")
    if len(content) != 1 + SEED_SIZE:
        raise damaged
    private = private_key_of(kind, content[1:])
    vkey = VKey.of(name, content[0], public_bytes(private))
    if identifier != f"{vkey.key_id:08x}":
        raise FormatError("damaged note key: its ID is not that of its name and key")
    if any(line != str(vkey) for line in others):
        raise FormatError("the file holds more than a note key and its vkey")
    return ForeignKey(private, vkey)


def _seed(data: bytes, lines: list[str], algorithm: keys.Algorithm) -> PrivateKey:
    content = _seed_bytes(data, lines)
    seed, public = content[:SEED_SIZE], content[SEED_SIZE:]
    if len(set(seed)) == 1:
        raise FormatError("a seed of 32 equal bytes is not random; `muniment keygen` makes a key")
    private = private_key_of(_TYPES[algorithm], seed)
    if public and algorithm != "ed25519":
        raise FormatError("64 bytes, which is no seed of an ML-DSA-44 key")
    if public and public != public_bytes(private):
        raise FormatError("64 bytes that are not an Ed25519 seed with its public key")
    return private


def _seed_bytes(data: bytes, lines: list[str]) -> bytes:
    """The 32 or 64 bytes of a seed, raw or as text."""
    sizes = {SEED_SIZE, 2 * SEED_SIZE}
    if len(data) in sizes and not _PRINTABLE.fullmatch(data):
        return data
    text = "".join(lines)
    for hint, words in _HINTS:
        if lines and hint.match(lines[0]):
            raise FormatError(words)
    digits = _HEXADECIMAL.fullmatch(text)
    if digits is not None:
        content = bytes.fromhex(digits[1].replace(":", ""))
        if len(content) in sizes:
            return content
    if _BASE64.fullmatch(text):
        plain = text.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            content = a2b_base64(plain + "=" * (-len(plain) % 4), strict_mode=True)
        except ValueError:
            content = b""
        if len(content) in sizes:
            return content
    raise FormatError(
        "no private key in a form that can be read: PKCS#8 (PEM or DER), OpenSSH, a note key "
        "(PRIVATE+KEY+...), or a seed of 32 bytes, as it is or in hexadecimal or base64"
    )
