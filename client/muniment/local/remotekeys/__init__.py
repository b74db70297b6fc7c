"""Ed25519 keys that other programs and devices keep, by what reference files name.

| ``signer`` | who signs |
| --- | --- |
| ``exec:COMMAND ARG…`` | a command: the message on its stdin, the signature on its stdout |
| ``agent:FINGERPRINT`` | ssh-agent, at ``SSH_AUTH_SOCK`` |
| ``pkcs11:…`` | a token, by a URI of RFC 7512; takes the extra ``pkcs11`` |

All of them block while they sign, for some 15 seconds at most; services have them sign in threads.
"""

from binascii import Error, a2b_base64
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_public_key,
    load_ssh_public_key,
)

from muniment.local.remotekeys import agent, command, token
from muniment.tlog.encoding import FormatError
from muniment.tlog.keys.reference import KeyReference
from muniment.tlog.keys.remote import RemoteKey


class _Kind(NamedTuple):
    """What can be asked of those who keep keys; `public` is None where nobody tells it."""

    ask: Callable[[str, bytes], Callable[[bytes], bytes]]
    public: Callable[[str], bytes] | None


_KINDS: Final = {
    "exec": _Kind(command.asking, None),
    "agent": _Kind(agent.asking, agent.public),
    "pkcs11": _Kind(token.asking, token.public),
}


def open_remote(reference: KeyReference) -> RemoteKey:
    """The key that a reference names; nobody is asked before something is to be signed.

    Raises FormatError if the signer is in no form that is known.
    """
    kind, spec = _split(reference.signer)
    public = reference.vkey.public
    return RemoteKey(public, kind.ask(spec, public), reference.signer)


def public_of(signer: str) -> bytes:
    """Asks who keeps a key for its public half: 32 bytes.

    Raises FormatError if the signer is in no form that is known, or is a command, which does not
    tell; SigningError if it does not answer.
    """
    kind, spec = _split(signer)
    if kind.public is None:
        raise FormatError("a command only signs: give its public key in a file (--public)")
    return kind.public(spec)


def parse_public(data: bytes) -> bytes:
    """Parses an Ed25519 public key: PEM (``PUBLIC KEY``), a line of OpenSSH, or base64 of 32 bytes.

    Raises FormatError if it is none of these.
    """
    text = data.strip()
    try:
        if text.startswith(b"-----BEGIN "):
            key = load_pem_public_key(text)
        elif text.startswith(b"ssh-"):
            key = load_ssh_public_key(text)
        else:
            key = Ed25519PublicKey.from_public_bytes(a2b_base64(text, strict_mode=True))
    except (ValueError, Error, UnsupportedAlgorithm):
        raise FormatError("no public key in PEM, in OpenSSH's form, or in base64") from None
    if not isinstance(key, Ed25519PublicKey):
        raise FormatError("not an Ed25519 key: only those can be kept elsewhere")
    return key.public_bytes_raw()


def _split(signer: str) -> tuple[_Kind, str]:
    scheme, _, spec = signer.partition(":")
    kind = _KINDS.get(scheme)
    if kind is None or not spec.strip():
        raise FormatError("signer: expected exec:COMMAND, agent:FINGERPRINT or a pkcs11: URI")
    return kind, spec
