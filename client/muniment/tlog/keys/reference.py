"""Reference files: in the place of a key file, they say who keeps the key, and its vkey.

TOML with two members, ``signer`` and ``vkey``:

    signer = "exec:/usr/local/bin/sign-with-kms projects/1/keys/log"
    vkey = "log.example/decisions+2ab0ee4f+AQ…"

They hold no secret, but whoever can change one decides who signs, so they are private like keys.
"""

import tomllib
from typing import Final, NamedTuple

from muniment.tlog.encoding import FormatError
from muniment.tlog.note import COSIGNATURE_ED25519, ED25519, VKey, parse_vkey

_PEM: Final = b"-----BEGIN "
_MEMBERS: Final = ("signer", "vkey")


class KeyReference(NamedTuple):
    """Who keeps a key.

    Attributes:
        signer: ``exec:…``, ``agent:…`` or ``pkcs11:…``, see `muniment.local.remotekeys`.
        vkey: The key's name and public half.
    """

    signer: str
    vkey: VKey


def is_reference(data: bytes) -> bool:
    """Whether the content of a key file is a reference rather than a key."""
    return _PEM not in data and any(
        line.partition(b"=")[0].strip() == b"signer" for line in data.splitlines()
    )


def parse_reference(data: bytes) -> KeyReference:
    """Parses a reference file; FormatError says which member is wrong."""
    try:
        found = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FormatError(f"reference to a key: not TOML: {error}") from None
    for name in found:
        if name not in _MEMBERS:
            raise FormatError(f"reference to a key: unknown member {name!r}")
    for name in _MEMBERS:
        if not isinstance(found.get(name), str):
            raise FormatError(f"reference to a key: {name}: expected a string")
    vkey = parse_vkey(found["vkey"])
    if vkey.algorithm not in {ED25519, COSIGNATURE_ED25519}:
        raise FormatError("reference to a key: vkey: only Ed25519 keys can be kept elsewhere")
    return KeyReference(found["signer"], vkey)


def format_reference(reference: KeyReference) -> bytes:
    """Writes a reference file; FormatError if the signer has control characters or quotes."""
    if not reference.signer.isprintable() or "'" in reference.signer:
        raise FormatError("signer: control characters and single quotes cannot be written")
    return f"signer = '{reference.signer}'\nvkey = \"{reference.vkey}\"\n".encode()
