"""C2SP signed-note ("Format", "Signatures", "Verifier keys"): notes, vkeys, Ed25519 signatures.

An `UnverifiedNote` is parsed, and its text means nothing until `verify_note` has found a signature
of a known key, and made a `VerifiedNote` of it. Algorithms beyond plain Ed25519 live in
`cosignature`.
"""

import re
from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple, Protocol, Self, runtime_checkable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import DecodeError, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from muniment.tlog.encoding import (
    FormatError,
    VerificationError,
    check_key_name,
    format_base64,
    parse_base64,
    parse_text,
)
from muniment.tlog.keys.ed25519 import ed25519_check, ed25519_sign
from muniment.tlog.keys.remote import RemoteKey

ED25519: Final = 0x01
"""Signature type: Ed25519 over the note text (signed-note)."""

COSIGNATURE_ED25519: Final = 0x04
"""Signature type: timestamped Ed25519 checkpoint cosignature (tlog-cosignature)."""

COSIGNATURE_MLDSA44: Final = 0x06
"""Signature type: timestamped ML-DSA-44 (sub)tree cosignature (tlog-cosignature)."""

PUBLIC_KEY_SIZES: Final = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_MLDSA44: 1312}
"""Length in bytes of the public key of each signature type that we can verify."""

MAX_SIGNATURES: Final = 64
"""Most signature lines in a note; the spec demands 16. Bounds the work of a verifier."""

MAX_NOTE_SIZE: Final = 512 * 1024
"""Largest note in bytes: MAX_SIGNATURES post-quantum signatures of 5 kB, in base64, and a text."""

MAX_VKEY_SIZE: Final = 8 * 1024
"""Longest vkey in characters; an ML-DSA-87 key, the largest of its family, takes 3,500."""

_SIGNATURE_PREFIX: Final = "— "
_SIGNATURE_PREFIX_BYTES: Final = _SIGNATURE_PREFIX.encode("utf-8")
_KEY_ID_SIZE: Final = 4
_decode_json: Final = Decoder(bytes).decode
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


class VKey(Struct, frozen=True):
    """A verifier key: who signs, and how to check it.

    Name and 32-bit key ID together identify key and algorithm. The algorithm is the signature type,
    0 to 255; types that we do not know are kept, with their key opaque.
    """

    name: str
    key_id: int
    algorithm: int
    public: bytes

    @classmethod
    def of(cls, name: str, algorithm: int, public: bytes) -> Self:
        """Makes the vkey of a public key, with the key ID that the specs prescribe.

        Raises FormatError if the name is no key name, or the key has not the algorithm's length;
        ValueError if the algorithm is not one of PUBLIC_KEY_SIZES.
        """
        check_key_name(name, "vkey name")
        if algorithm not in PUBLIC_KEY_SIZES:
            raise ValueError(f"signature type {algorithm:#04x} is not known")
        if len(public) != PUBLIC_KEY_SIZES[algorithm]:
            raise FormatError(f"public key of {len(public)} bytes for type {algorithm:#04x}")
        return cls(name, _key_id(name, algorithm, public), algorithm, public)

    def __str__(self) -> str:
        material = format_base64(bytes([self.algorithm]) + self.public)
        return f"{self.name}+{self.key_id:08x}+{material}"


def _key_id(name: str, algorithm: int, public: bytes) -> int:
    digest = sha256(b"%b\n%c%b" % (name.encode("utf-8"), algorithm, public)).digest()
    return int.from_bytes(digest[:_KEY_ID_SIZE], "big")


def parse_vkey(text: str, what: str = "vkey") -> VKey:
    """Parses ``<key name>+hex(key ID)+base64(signature type || public key)``.

    For the signature types in PUBLIC_KEY_SIZES, the length of the key and the key ID are checked.
    Keys of other types are kept as they are; `cosignature.verifier_for` refuses them. Raises
    FormatError if the text is not the one spelling of a vkey.
    """
    if len(text) > MAX_VKEY_SIZE:
        raise FormatError(f"{what}: more than {MAX_VKEY_SIZE} characters")
    # The base64 part may hold a plus; name and ID cannot.
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise FormatError(f"{what}: not of the form name+id+key")
    name, identifier, material = parts
    check_key_name(name, what)
    # int() takes signs, underscores, upper case and foreign digits.
    if not _KEY_ID.fullmatch(identifier):
        raise FormatError(f"{what}: key ID is not 8 lower-case hexadecimal digits")
    key_id = int(identifier, 16)
    key = parse_base64(material, f"{what}: key")
    if len(key) < 2:  # the type and at least one byte of key
        raise FormatError(f"{what}: no public key")
    algorithm, public = key[0], key[1:]
    size = PUBLIC_KEY_SIZES.get(algorithm)
    if size is not None:
        if len(public) != size:
            raise FormatError(f"{what}: public key of {len(public)} bytes instead of {size}")
        if key_id != _key_id(name, algorithm, public):
            raise FormatError(f"{what}: key ID does not match name and key")
    return VKey(name, key_id, algorithm, public)


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature line of a note, unverified; `signature` is what follows the 32-bit key ID."""

    name: str
    key_id: int
    signature: bytes
    _line: str = field(default="", init=False, repr=False, compare=False)
    _read: bytes = field(default=b"", init=False, repr=False, compare=False)

    @property
    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        # Kept: a head's signatures are written for each witness, to the disk and to each gateway.
        if not self._line:
            if read := self._read:  # the one spelling; once, as another thread may ask for it too
                line = f"{read.decode('utf-8')}\n"
            else:
                data = self.key_id.to_bytes(_KEY_ID_SIZE, "big") + self.signature
                line = f"{_SIGNATURE_PREFIX}{self.name} {format_base64(data)}\n"
            object.__setattr__(self, "_line", line)
            object.__setattr__(self, "_read", b"")
        return self._line


def parse_signature_line(line: str, what: str = "signature line") -> SignatureLine:
    """Parses ``— <key name> base64(32-bit key ID || signature)``, given without its newline.

    Raises FormatError if the line is not the one spelling of a signature line.
    """
    return _read_signature_line(line.encode("utf-8", "surrogatepass"), what)


def _read_signature_line(line: bytes, what: str) -> SignatureLine:
    """As `parse_signature_line`, of bytes: text with a dash takes twice as many."""
    if not line.startswith(_SIGNATURE_PREFIX_BYTES):
        raise FormatError(f"{what}: does not start with an em dash and a space")
    name, space, encoded = line[len(_SIGNATURE_PREFIX_BYTES) :].partition(b" ")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{what}: key name is not UTF-8") from None
    check_key_name(text, what)
    if not space:
        raise FormatError(f"{what}: no signature")
    data = _decode_base64(encoded, what)
    if len(data) <= _KEY_ID_SIZE:
        raise FormatError(f"{what}: shorter than key ID and signature")
    parsed = SignatureLine(text, int.from_bytes(data[:_KEY_ID_SIZE], "big"), data[_KEY_ID_SIZE:])
    object.__setattr__(parsed, "_read", line)
    return parsed


def _decode_base64(text: bytes, what: str) -> bytes:
    """As `parse_base64`, in a third of the time: an ML-DSA-44 signature has 3,232 digits.

    Whatever decodes them, the text is the canonical base64 of what it is written as again.
    """
    try:
        data: bytes = _decode_json(b'"%b"' % text)
        if b2a_base64(data, newline=False) == text:
            return data
    except (DecodeError, UnicodeDecodeError):
        pass
    # What is not ASCII is not base64 either, whatever character it becomes.
    return parse_base64(text.decode("latin-1"), what)


class UnverifiedNote(Struct, frozen=True):
    r"""A text and at most MAX_SIGNATURES signature lines; none only while a note is being built."""

    text: str
    signatures: tuple[SignatureLine, ...]

    def __post_init__(self) -> None:
        if len(self.signatures) > MAX_SIGNATURES:
            raise FormatError(f"note: more than {MAX_SIGNATURES} signatures")

    def encode(self) -> bytes:
        """The bytes of the note; ValueError without a signature, or a newline at the text's end."""
        if not self.signatures or not self.text.endswith("\n"):
            raise ValueError("a note needs a text that ends with a newline, and a signature")
        lines = "".join([signature.line for signature in self.signatures])
        return f"{self.text}\n{lines}".encode()

    def with_signatures(self, more: Iterable[SignatureLine]) -> Self:
        """The note with lines appended that it has not; FormatError beyond MAX_SIGNATURES."""
        return replace(self, signatures=tuple(dict.fromkeys((*self.signatures, *more))))


def parse_note(data: bytes) -> UnverifiedNote:
    """Parses the one spelling of a signed note, at most MAX_NOTE_SIZE bytes; FormatError if not."""
    try:
        return _read_note(data)
    except FormatError:
        parse_text(data, "note", most=MAX_NOTE_SIZE)  # what is no text at all has its line named
        raise


def _read_note(data: bytes) -> UnverifiedNote:
    """Parses a note; each part is found to be UTF-8 without control characters by itself."""
    if len(data) > MAX_NOTE_SIZE or not data.endswith(b"\n"):
        raise FormatError("note: too long, or it does not end with a newline")
    # The text may hold empty lines itself; the last one of the note is the separator.
    split = data.rfind(b"\n\n")
    if split < 0:
        raise FormatError("note: no empty line between text and signatures")
    block = data[split + 2 : -1]
    if not block:
        raise FormatError("note: no signatures")
    lines = block.split(b"\n")
    if len(lines) > MAX_SIGNATURES:
        raise FormatError(f"note: more than {MAX_SIGNATURES} signatures")
    text = parse_text(data[: split + 1], "note", most=MAX_NOTE_SIZE)
    numbered = enumerate(lines, 1)
    read = [_read_signature_line(line, f"note: signature {number}") for number, line in numbered]
    return UnverifiedNote(text, tuple(read))


@runtime_checkable
class Verifier(Protocol):
    """Checks the signatures of one key."""

    @property
    def vkey(self) -> VKey:
        """The key."""
        ...

    def verify(self, text: str, signature: bytes) -> int | None:
        """Checks a signature (without the key ID) over a note text; VerificationError if it fails.

        Returns the time that the signature states, in Unix seconds; None for plain signatures.
        """
        ...


@runtime_checkable
class Signer(Protocol):
    """Makes signature lines with one key."""

    @property
    def vkey(self) -> VKey:
        """The public half of the key."""
        ...

    def sign(self, text: str, now: int) -> SignatureLine:
        """Signs a text, or raises FormatError; plain signatures ignore `now`, Unix seconds."""
        ...


class Ed25519Verifier:
    """Verifies plain Ed25519 note signatures (signed-note, "Ed25519 signatures", type 0x01)."""

    __slots__ = ("_verify", "vkey")

    def __init__(self, vkey: VKey) -> None:
        """Takes a vkey of type ED25519; ValueError for another one."""
        if vkey.algorithm != ED25519:
            raise ValueError(f"{vkey.name}: not an Ed25519 note key")
        self.vkey = vkey
        self._verify = ed25519_check(vkey.public)

    def verify(self, text: str, signature: bytes) -> int | None:
        """Checks a signature over the note text; see `Verifier`."""
        if not self._verify(text.encode("utf-8"), signature):
            raise VerificationError(f"{self.vkey.name}: signature does not verify")
        return None


class Ed25519Signer:
    """Signs note texts with plain Ed25519 (signed-note, "Ed25519 signatures", type 0x01).

    Attributes:
        vkey: The public half.
        is_remote: Whether somebody else keeps the key, so that signing waits for them.
    """

    __slots__ = ("_sign", "is_remote", "vkey")

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        """Takes the key name and the private key; FormatError if the name is no key name."""
        self.is_remote = isinstance(private, RemoteKey)
        self.vkey = VKey.of(name, ED25519, private.public_key().public_bytes_raw())
        self._sign = ed25519_sign(private)

    def sign(self, text: str, now: int) -> SignatureLine:  # noqa: ARG002 - the Signer protocol
        """Signs the note text; see `Signer`."""
        return SignatureLine(self.vkey.name, self.vkey.key_id, self._sign(text.encode("utf-8")))

    def under(self, name: str) -> Self:
        """The same key under another name; FormatError if that is no key name."""
        other = copy(self)
        other.vkey = VKey.of(name, ED25519, self.vkey.public)
        return other


def is_remote(signer: Signer) -> bool:
    """Whether somebody else keeps the key, so that to sign is to wait: not on an event loop."""
    return isinstance(signer, Ed25519Signer) and signer.is_remote


def lines_of(lines: Iterable[SignatureLine], vkeys: Iterable[VKey]) -> tuple[SignatureLine, ...]:
    """The first line of each of these keys, in their order, unverified.

    A note has room for MAX_SIGNATURES lines: who adds what others have sent takes one a key.
    """
    keys = {(vkey.name, vkey.key_id) for vkey in vkeys}
    first: dict[tuple[str, int], SignatureLine] = {}
    for line in lines:
        if (key := (line.name, line.key_id)) in keys:
            first.setdefault(key, line)
    return tuple(first.values())


class Verified(NamedTuple):
    """A key that signed a note, and the time in Unix seconds that its signature may state."""

    vkey: VKey
    timestamp: int | None


class VerifiedNote(Struct, frozen=True):
    """A text, ending with a newline, and the keys that signed it. Only `verify_note` makes one.

    It is not an `UnverifiedNote`, nor the other way round: who needs a text that somebody has
    vouched for asks for this type, and the type checker refuses the other one. The keys, at least
    one, are in the order of the note.
    """

    text: str
    signatures: tuple[Verified, ...]


def verify_note(note: UnverifiedNote, verifiers: Iterable[Verifier]) -> VerifiedNote:
    """Verifies all signatures of known keys (signed-note, "Signatures").

    Signatures of unknown keys are ignored, also when only name or only key ID is that of a known
    key. Several lines of one key are all verified and reported once, with the latest time. Raises
    VerificationError if a signature of a known key does not verify, or there is none; ValueError if
    two different verifiers have the same name and key ID.
    """
    known: dict[tuple[str, int], Verifier] = {}
    for verifier in verifiers:
        vkey = verifier.vkey
        if known.setdefault((vkey.name, vkey.key_id), verifier).vkey != vkey:
            raise ValueError(f"two keys have the name {vkey.name} and the ID {vkey.key_id:08x}")
    found: dict[tuple[str, int], Verified] = {}
    for line in note.signatures:
        key = (line.name, line.key_id)
        if (match := known.get(key)) is None:
            continue
        timestamp = match.verify(note.text, line.signature)
        if timestamp is not None and key in found:
            timestamp = max(timestamp, found[key].timestamp or 0)
        found[key] = Verified(match.vkey, timestamp)
    if not found:
        raise VerificationError("note: no signature of a known key")
    return VerifiedNote(note.text, tuple(found.values()))


def sign_note(text: str, signers: Sequence[Signer], now: int) -> UnverifiedNote:
    """Signs a text with every signer, at least one, in order; `now` is in Unix seconds.

    Raises FormatError if the text cannot be a note's, or a signer refuses it.
    """
    if not signers:
        raise ValueError("a note needs a signer")
    # A lone surrogate passes here so that parse_text is what refuses it.
    parse_text(text.encode("utf-8", "surrogatepass"), "note text", most=MAX_NOTE_SIZE)
    return UnverifiedNote(text, tuple(signer.sign(text, now) for signer in signers))
